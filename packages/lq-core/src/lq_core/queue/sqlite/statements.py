"""
Every SQL statement of the SQLite queue backend.

A query that means a partial index repeats the index's predicate word for word, or SQLite does not use it.
``SELECT *`` is the order of the columns in the migrations, which ``rows.py`` knows: columns are only ever added
at the end.
"""

from typing import Final

# ------------------------------------------------------------ connection and schema

SYNCHRONOUS: Final = {"FULL": "PRAGMA synchronous = FULL", "NORMAL": "PRAGMA synchronous = NORMAL"}
JOURNAL: Final = "PRAGMA journal_mode"
USE_WAL: Final = "PRAGMA journal_mode = WAL"
READ_ONLY: Final = "PRAGMA query_only = 1"
DATA_VERSION: Final = "PRAGMA data_version"
SCHEMA_VERSION: Final = "PRAGMA user_version"
APPLICATION: Final = "PRAGMA application_id"
TABLES: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"

# Whoever prints a migration prints this after it; a PRAGMA takes no parameters.
NOTE_MIGRATION: Final = """
PRAGMA user_version = {number:d};
PRAGMA application_id = {application:d};
"""

BEGIN: Final = "BEGIN IMMEDIATE"
BEGIN_READING: Final = "BEGIN"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"
SAVE: Final = "SAVEPOINT batch"
UNDO: Final = "ROLLBACK TO batch"
KEEP: Final = "RELEASE batch"

# ------------------------------------------------------------ insert

# The values are those of rows.to_row.
INSERT: Final = """
INSERT INTO records
VALUES (
  ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
  ?, ?, ?, ?, ?, ?, ?, ?, ?
)
ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING
"""

# A new record of a call without rare options. Python's sqlite3 takes a fifth of a microsecond for each None.
# The values are those of rows.to_plain_row.
INSERT_PLAIN: Final = """
INSERT INTO records
VALUES (
  ?, ?, ?, ?, ?, ?, NULL, NULL, 0, ?, NULL, ?, NULL, NULL, NULL, ?, ?, 'pending', 0, 0, 0, 0,
  NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, 'ended', NULL, NULL, NULL, NULL, 0, NULL, ?
)
"""

HOLDER: Final = """
SELECT * FROM records
WHERE unique_key = :key AND unique_key IS NOT NULL
"""

# The holder has lapsed, as lifecycle.has_lapsed says: whoever asks for the key may have it.
LET_GO: Final = """
UPDATE records SET key_released = 1, unique_key = NULL
WHERE unique_key = :key AND unique_key IS NOT NULL
  AND coalesce(key_until, CASE WHEN status = 'pending' THEN expires_at END) <= :at
"""

# The values are those of rows.to_amendment.
AMEND: Final = """
UPDATE records SET
  epoch = ?, arguments = ?, priority = ?, metadata = ?, scheduled_at = ?, expires_at = ?,
  ready = CASE WHEN cancel_requested THEN NULL ELSE ? END
WHERE id = ? AND epoch = ? AND NOT key_released
"""

# ------------------------------------------------------------ swap

# The values are those of rows.to_swap. The epoch alone is the fence. A key is let go of here, never taken.
# A record that was asked to stop stays so until it ends, and is not claimable if it comes back.
SWAP: Final = """
UPDATE records SET
  status = ?, epoch = ?, attempt = ?, retry_count = ?, losses = ?, blocked = ?, worker_id = ?, execution_backend = ?,
  execution_profile = ?, execution_ref = ?, log_url = ?, scheduled_at = ?, expires_at = ?, started_at = ?,
  finished_at = ?, progress = ?, result = ?, error = ?, history = ?,
  ready = CASE WHEN cancel_requested THEN NULL ELSE ? END, cancel_requested = cancel_requested AND NOT ?,
  key_released = max(key_released, ?), unique_key = CASE WHEN ? THEN unique_key END
WHERE id = ? AND epoch = ?
"""

# A swap to an ended record without a key to hold on to: what the steps to an end leave alone is not written again.
# The values are those of rows.to_end.
END: Final = """
UPDATE records SET
  status = ?, epoch = ?, ready = NULL, cancel_requested = 0, blocked = 0, key_released = 1, unique_key = NULL,
  worker_id = NULL, execution_ref = NULL, log_url = ?, finished_at = ?,
  progress = ?, result = ?, error = ?, history = ?
WHERE id = ? AND epoch = ?
"""

REQUEST_CANCEL: Final = """
UPDATE records SET cancel_requested = 1
WHERE id = :id AND epoch = :epoch AND status IN ('dispatched', 'running')
"""

# ------------------------------------------------------------ claim

IS_REGISTERED: Final = "SELECT 1 FROM workers WHERE id = :worker_id"

NEXT_READY_QUEUE: Final = """
SELECT queue FROM records
WHERE ready = 1 AND execution_backend = :execution_backend AND queue > :queue
ORDER BY queue
LIMIT 1
"""

NEXT_WAITING_QUEUE: Final = """
SELECT queue FROM records
WHERE ready = 0 AND execution_backend = :execution_backend AND queue > :queue
ORDER BY queue
LIMIT 1
"""

# Answered from the index alone.
FIRST_READY: Final = """
SELECT -priority, scheduled_at, id, rowid FROM records
WHERE ready = 1 AND execution_backend = :execution_backend AND queue = :queue AND concurrency_key IS NULL
  AND (expires_at IS NULL OR expires_at > :at)
ORDER BY priority DESC, scheduled_at, id
LIMIT :limit
"""

FIRST_WAITING: Final = """
SELECT scheduled_at FROM records
WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue
  AND (expires_at IS NULL OR expires_at > :at)
  AND (:draining IS NULL OR created_at < :draining)
ORDER BY scheduled_at
LIMIT 1
"""

HAS_BECOME_DUE: Final = """
SELECT 1 FROM records
WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue AND scheduled_at <= :at
LIMIT 1
"""

# Bounded, so that a great number that become due at once do not hold the file for long.
PROMOTE: Final = """
UPDATE records SET ready = 1
WHERE rowid IN (
  SELECT rowid FROM records
  WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue AND scheduled_at <= :at
  ORDER BY scheduled_at
  LIMIT 10000
)
"""

# This does what lifecycle.claim and lifecycle.dispatch do: with one start or none.
CLAIM: Final = """
UPDATE records SET
  status = :status, ready = NULL, epoch = epoch + 1, attempt = attempt + :starts,
  worker_id = CASE WHEN :starts THEN :worker_id ELSE worker_id END,
  started_at = :at, finished_at = NULL, progress = NULL,
  key_released = key_released OR key_scope = 'started',
  unique_key = CASE WHEN key_scope <> 'started' THEN unique_key END
WHERE rowid IN (SELECT value FROM json_each(:rowids))
RETURNING *
"""

# ------------------------------------------------------------ read

GET: Final = "SELECT * FROM records WHERE id = ?"

# The rest of every search: a parameter that is NULL asks for nothing.
MATCHES: Final = """
  AND (:statuses IS NULL OR +status IN (SELECT value FROM json_each(:statuses)))
  AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
  AND (:task_names IS NULL OR task_name IN (SELECT value FROM json_each(:task_names)))
  AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))
  AND (:key IS NULL OR key = :key)
  AND (:schedule IS NULL OR schedule = :schedule)
  AND (:created_after IS NULL OR created_at > :created_after)
  AND (:created_before IS NULL OR created_at < :created_before)
"""

FIND_NEWEST: Final = f"""
SELECT * FROM records
WHERE id < :before AND id > :after {MATCHES}
ORDER BY id DESC
LIMIT :limit
"""  # noqa: S608 -- joins two constants of this file

FIND_OLDEST: Final = f"""
SELECT * FROM records
WHERE id < :before AND id > :after {MATCHES}
ORDER BY id
LIMIT :limit
"""  # noqa: S608 -- joins two constants of this file

# There are few with one key: SQLite finds those first, and then puts them in order.
# The unary plus keeps it from walking all records in the order of their ids instead.
FIND_WITH_KEY: Final = f"""
SELECT * FROM records
WHERE key = :key AND key IS NOT NULL AND +id < :before AND +id > :after {MATCHES}
ORDER BY CASE WHEN :oldest_first THEN id END, id DESC
LIMIT :limit
"""  # noqa: S608 -- joins two constants of this file

# The records of some statuses, from the partial indexes alone; FEW says from how many on walking is quicker.
WITH_STATUS: Final = """
  SELECT rowid FROM records
  WHERE finished_at IS NOT NULL AND status IN (SELECT value FROM json_each(:statuses))
  UNION ALL
  SELECT rowid FROM records
  WHERE status IN ('dispatched', 'running') AND status IN (SELECT value FROM json_each(:statuses))
  UNION ALL
  SELECT rowid FROM records WHERE ready = 1 AND :pending
  UNION ALL
  SELECT rowid FROM records WHERE ready = 0 AND :pending
  UNION ALL
  SELECT rowid FROM records WHERE blocked = 1 AND :pending
  UNION ALL
  SELECT rowid FROM records WHERE cancel_requested = 1 AND status = 'pending' AND :pending
"""

COUNT_FEW: Final = f"""
SELECT count(*) FROM ({WITH_STATUS} LIMIT :few)
"""  # noqa: S608 -- joins two constants of this file

FIND_FEW: Final = f"""
SELECT * FROM records
WHERE rowid IN ({WITH_STATUS}) AND +id < :before AND +id > :after {MATCHES}
ORDER BY CASE WHEN :oldest_first THEN id END, id DESC
LIMIT :limit
"""  # noqa: S608 -- joins constants of this file

COUNT: Final = f"""
SELECT count(*) FROM records WHERE true {MATCHES}
"""  # noqa: S608 -- joins two constants of this file

COUNT_WITH_STATUS: Final = f"""
SELECT count(*) FROM records WHERE rowid IN ({WITH_STATUS}) {MATCHES}
"""  # noqa: S608 -- joins constants of this file

OVERDUE: Final = """
SELECT * FROM records
WHERE expires_at IS NOT NULL AND status = 'pending' AND expires_at <= :at
ORDER BY expires_at
LIMIT :limit
"""

BLOCKED: Final = "SELECT id, after FROM records WHERE blocked = 1 ORDER BY id"

HAS_NOT_ENDED: Final = """
SELECT 1 FROM records
WHERE id = ? AND finished_at IS NULL
"""

CANCEL_REQUESTS: Final = """
SELECT * FROM records
WHERE cancel_requested = 1
ORDER BY id
"""

# Counted queue by queue: that takes half the time of a GROUP BY.
COUNT_ENDED: Final = """
SELECT count(*) FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue = :queue
"""

# Each part is answered from an index; the last ones are what waits for others, and what waits and was asked to stop.
COUNT_ACTIVE: Final = """
SELECT queue, status, count(*) FROM records WHERE status IN ('dispatched', 'running') GROUP BY status, queue
UNION ALL
SELECT queue, 'pending', count(*) FROM records WHERE ready = 1 GROUP BY execution_backend, queue
UNION ALL
SELECT queue, 'pending', count(*) FROM records WHERE ready = 0 GROUP BY execution_backend, queue
UNION ALL
SELECT queue, 'pending', count(*) FROM records WHERE blocked = 1 GROUP BY queue
UNION ALL
SELECT queue, 'pending', count(*) FROM records WHERE cancel_requested = 1 AND status = 'pending' GROUP BY queue
"""

OLDEST_DUE: Final = """
SELECT min(moment) FROM (
  SELECT min(scheduled_at) AS moment FROM records
  WHERE ready = 1 AND (expires_at IS NULL OR expires_at > :at)
  UNION ALL
  SELECT min(scheduled_at) AS moment FROM records
  WHERE ready = 0 AND scheduled_at <= :at AND (expires_at IS NULL OR expires_at > :at)
)
"""

# ------------------------------------------------------------ workers

REGISTER: Final = """
INSERT OR REPLACE INTO workers (id, queues, execution_backends, concurrency, started_at, seen_at)
VALUES (:id, :queues, :execution_backends, :concurrency, :started_at, :seen_at)
"""

BEAT: Final = "UPDATE workers SET seen_at = :at WHERE id = :worker_id"

RETIRE: Final = "DELETE FROM workers WHERE id = :worker_id"

WORKERS: Final = "SELECT id, queues, execution_backends, concurrency, started_at, seen_at FROM workers ORDER BY id"

HAS_LAPSED: Final = "SELECT 1 FROM workers WHERE seen_at <= :lapsed OR seen_at > :at LIMIT 1"

# After the clock was set back: a dead worker does not live on until the clock has caught up with its last beat.
HEARD_JUST_NOW: Final = "UPDATE workers SET seen_at = :at WHERE seen_at > :at"

BURY: Final = "DELETE FROM workers WHERE seen_at <= :lapsed"

ORPHANS: Final = """
SELECT * FROM records
WHERE status IN ('dispatched', 'running') AND status = 'running'
  AND (worker_id IS NULL OR worker_id NOT IN (SELECT id FROM workers))
LIMIT :limit
"""

# ------------------------------------------------------------ retention

NEXT_ENDED_QUEUE: Final = """
SELECT queue FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue > :queue
ORDER BY queue
LIMIT 1
"""

HAS_EXPIRED: Final = """
SELECT 1 FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue = :queue AND finished_at < :before
  AND (unique_key IS NULL OR key_until <= :at)
LIMIT 1
"""

DELETE_ONE: Final = """
DELETE FROM records
WHERE id = :id AND finished_at IS NOT NULL AND status IN ('completed', 'failed', 'cancelled', 'expired')
  AND (unique_key IS NULL OR key_until <= :at)
"""

DELETE_ENDED: Final = """
DELETE FROM records
WHERE rowid IN (
  SELECT rowid FROM records
  WHERE finished_at IS NOT NULL AND status = :status AND queue = :queue AND finished_at < :before
    AND (unique_key IS NULL OR key_until <= :at)
  ORDER BY finished_at
  LIMIT :limit
)
"""

# ------------------------------------------------------------ schedules

SCHEDULES: Final = "SELECT body FROM schedules"

ADD_SCHEDULE: Final = """
INSERT INTO schedules (name, version, body) VALUES (:name, :version, :body)
ON CONFLICT (name) DO NOTHING
"""

CHANGE_SCHEDULE: Final = """
UPDATE schedules SET version = :version, body = :body
WHERE name = :name AND version = :version - 1
"""
