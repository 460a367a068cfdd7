"""
The SQL statements of the SQLite queue backend, except the queries in ``read_statements.py``.

SQLite uses a partial index only if the query repeats the predicate of the index word for word.
``SELECT *`` gives the columns in the order of the migrations, which ``rows.py`` repeats; a migration adds columns
only at the end.
"""

from typing import Final

# ------------------------------------------------------------ connection and schema

SYNCHRONOUS: Final = {"FULL": "PRAGMA synchronous = FULL", "NORMAL": "PRAGMA synchronous = NORMAL"}
JOURNAL: Final = "PRAGMA journal_mode"
USE_WAL: Final = "PRAGMA journal_mode = WAL"
EMPTY_LOG: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
READ_ONLY: Final = "PRAGMA query_only = 1"
DATA_VERSION: Final = "PRAGMA data_version"
SCHEMA_VERSION: Final = "PRAGMA user_version"
APPLICATION: Final = "PRAGMA application_id"
TABLES: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table'"

# Runs after each migration. A PRAGMA takes no parameters. Older code compares only user_version.
NOTE_MIGRATION: Final = """
CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, runs_beside INTEGER NOT NULL);
INSERT INTO migrations (number, runs_beside) VALUES ({number:d}, {runs_beside:d});
PRAGMA user_version = {runs_beside:d};
PRAGMA application_id = {application:d};
"""

LISTS_MIGRATIONS: Final = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'migrations'"
LAST_MIGRATION: Final = "SELECT coalesce(max(number), 0) FROM migrations"

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

NOTE_SUCCESSOR: Final = "INSERT OR IGNORE INTO successors VALUES (?, ?)"

# A new record without rare options. Python's sqlite3 takes a fifth of a microsecond for each None.
# The values are those of rows.to_plain_row.
INSERT_PLAIN: Final = """
INSERT INTO records
VALUES (
  ?, ?, ?, ?, ?, ?, NULL, NULL, 0, ?, NULL, ?, NULL, NULL, NULL, ?, ?, 'pending', 0, 0, 0, 0,
  NULL, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL,
  NULL, 'ended', NULL, NULL, NULL, NULL, 0, NULL, ?
)
"""

HOLDER: Final = "SELECT * FROM records WHERE unique_key = :key AND unique_key IS NOT NULL"

# The holder has lapsed, as lifecycle.has_lapsed says: a new record may take the key.
RELEASE_KEY: Final = """
UPDATE records SET key_released = 1, unique_key = NULL
WHERE unique_key = :key AND unique_key IS NOT NULL
  AND coalesce(key_until, CASE WHEN status = 'pending' THEN expires_at END) <= :at
"""

# The values are those of rows.to_amendment. A record that is not rescheduled keeps its turn.
AMEND: Final = """
UPDATE records SET
  epoch = ?1, arguments = ?2, priority = ?3, metadata = ?4, scheduled_at = ?5, expires_at = ?6,
  ready = CASE WHEN cancel_requested THEN NULL WHEN ready = 1 AND scheduled_at = ?5 THEN 1 ELSE ?7 END
WHERE id = ?8 AND epoch = ?9 AND key_released = ?10
"""

# ------------------------------------------------------------ swap

# The values are those of rows.to_swap. The epoch alone is the fence. A swap releases a key and never takes one.
# A request to cancel stays until the record ends, and keeps a pending record from being claimed.
SWAP: Final = """
UPDATE records SET
  status = ?, epoch = ?, attempt = ?, retry_count = ?, losses = ?, blocked = ?, worker_id = ?, execution_backend = ?,
  execution_profile = ?, execution_ref = ?, log_url = ?, scheduled_at = ?, expires_at = ?, started_at = ?,
  finished_at = ?, progress = ?, result = ?, error = ?, history = ?,
  ready = CASE WHEN cancel_requested THEN NULL ELSE ? END, cancel_requested = cancel_requested AND NOT ?,
  key_released = max(key_released, ?), unique_key = CASE WHEN ? THEN unique_key END
WHERE id = ? AND epoch = ?
"""

# A swap to an ended record that releases its key: writes only the columns that the steps to an end change.
# The values are those of rows.to_end.
END: Final = """
UPDATE records SET
  status = ?, epoch = ?, ready = NULL, cancel_requested = 0, blocked = 0, key_released = 1, unique_key = NULL,
  worker_id = NULL, execution_ref = NULL, log_url = ?, finished_at = ?,
  progress = ?, result = ?, error = ?, history = ?
WHERE id = ? AND epoch = ?
"""

REQUEST_CANCEL: Final = """
UPDATE records SET
  cancel_requested = 1, key_released = key_released OR key_until IS NULL,
  unique_key = CASE WHEN key_until IS NOT NULL THEN unique_key END
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

# An update that changes nothing takes longer than this read.
HAS_BECOME_DUE: Final = """
SELECT 1 FROM records
WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue AND scheduled_at <= :at
LIMIT 1
"""

# Bounded, so that many records that become due at once do not lock the file for long.
PROMOTE: Final = """
UPDATE records SET ready = 1
WHERE rowid IN (
  SELECT number FROM (
    SELECT rowid AS number, fairness_key FROM records
    WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue AND scheduled_at <= :at
    ORDER BY scheduled_at
    LIMIT 10000
  )
  WHERE fairness_key IS NULL
)
"""

# ------------------------------------------------------------ turns

DUE_WITH_FAIRNESS_KEY: Final = """
SELECT number, priority, fairness_key, scheduled_at FROM (
  SELECT rowid AS number, priority, fairness_key, scheduled_at, id FROM records
  WHERE ready = 0 AND execution_backend = :execution_backend AND queue = :queue AND scheduled_at <= :at
  ORDER BY scheduled_at
  LIMIT 10000
)
WHERE fairness_key IS NOT NULL
ORDER BY scheduled_at, id
"""

GIVE_TURN: Final = "UPDATE records SET ready = 1, scheduled_at = ? WHERE rowid = ?"

LAST_TURN: Final = """
SELECT scheduled_at FROM records INDEXED BY records_last_turns
WHERE ready = 1 AND metadata IS NOT NULL AND fairness_key IS NOT NULL
  AND execution_backend = :execution_backend AND queue = :queue AND priority = :priority AND fairness_key = :key
ORDER BY scheduled_at DESC
LIMIT 1
"""

NEXT_TURN: Final = """
SELECT scheduled_at FROM records INDEXED BY records_turns
WHERE ready = 1 AND metadata IS NOT NULL AND fairness_key IS NOT NULL
  AND execution_backend = :execution_backend AND queue = :queue AND priority = :priority AND scheduled_at > :turn
ORDER BY scheduled_at
LIMIT 1
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

# ------------------------------------------------------------ queues and limits

QUEUES: Final = "SELECT name, paused, limits, draining FROM queues"

SET_QUEUE: Final = "INSERT OR REPLACE INTO queues (name, paused, limits, draining) VALUES (?, ?, ?, ?)"

NEXT_READY_KEY: Final = """
SELECT concurrency_key FROM records
WHERE ready = 1 AND execution_backend = :execution_backend AND queue = :queue AND concurrency_key > :key
ORDER BY concurrency_key
LIMIT 1
"""

# The keys of the records in the order of claims, from the index alone. The planner would sort another index.
KEYS_IN_ORDER: Final = """
SELECT concurrency_key, id FROM records INDEXED BY records_ready_keyed
WHERE ready = 1 AND execution_backend = :execution_backend AND queue = :queue AND concurrency_key IS NOT NULL
  AND (expires_at IS NULL OR expires_at > :at)
  AND (:draining IS NULL OR created_at < :draining)
ORDER BY priority DESC, scheduled_at, id
"""

# As FIRST_READY, with the limits of each record.
FIRST_LIMITED: Final = """
SELECT -priority, scheduled_at, id, rowid, limits FROM records
WHERE ready = 1 AND execution_backend = :execution_backend AND queue = :queue AND concurrency_key IS :key
  AND (expires_at IS NULL OR expires_at > :at)
  AND (:draining IS NULL OR created_at < :draining)
ORDER BY priority DESC, scheduled_at, id
LIMIT :limit
"""

COUNT_RUNNING_IN_QUEUE: Final = """
SELECT count(*) FROM records
WHERE status IN ('dispatched', 'running') AND queue = :name
"""

COUNT_RUNNING_WITH_KEY: Final = """
SELECT count(*) FROM records
WHERE concurrency_key = :name AND concurrency_key IS NOT NULL AND status IN ('dispatched', 'running')
"""

BUCKET: Final = "SELECT full_at FROM buckets WHERE kind = ? AND name = ?"

KEEP_BUCKET: Final = "INSERT OR REPLACE INTO buckets (kind, name, full_at) VALUES (?, ?, ?)"

DROP_FULL_BUCKETS: Final = "DELETE FROM buckets WHERE full_at <= :at"

# ------------------------------------------------------------ workers

REGISTER: Final = """
INSERT OR REPLACE INTO workers (id, queues, execution_backends, concurrency, started_at, seen_at)
VALUES (?, ?, ?, ?, ?, max(?, ifnull((SELECT max(seen_at) FROM workers), 0)))
"""

# A heartbeat is not older than the newest one: a worker whose clock is behind is not dead.
BEAT: Final = "UPDATE workers SET seen_at = max(:at, (SELECT max(seen_at) FROM workers)) WHERE id = :worker_id"

RETIRE: Final = "DELETE FROM workers WHERE id = :worker_id"

WORKERS: Final = "SELECT id, queues, execution_backends, concurrency, started_at, seen_at FROM workers ORDER BY id"

HAS_LAPSED: Final = "SELECT 1 FROM workers WHERE seen_at <= :lapsed OR seen_at > :at LIMIT 1"

# After the clock was set back: a dead worker does not count as alive until the clock reaches its last beat again.
HEARD_JUST_NOW: Final = "UPDATE workers SET seen_at = :at WHERE seen_at > :at"

FORGET_LAPSED: Final = "DELETE FROM workers WHERE seen_at <= :lapsed"

ORPHANS: Final = """
SELECT * FROM records
WHERE status IN ('dispatched', 'running') AND status = 'running'
  AND (worker_id IS NULL OR worker_id NOT IN (SELECT id FROM workers))
LIMIT :limit
"""

OWNED: Final = """
SELECT * FROM records
WHERE status IN ('dispatched', 'running') AND status = 'running' AND worker_id = :worker_id
"""

# ------------------------------------------------------------ retention

NEXT_ENDED_QUEUE: Final = """
SELECT queue FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue > :queue
ORDER BY queue
LIMIT 1
"""

# Answered from the index, except for the ids.
ENDED: Final = """
SELECT id FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue = :queue AND finished_at < :before
  AND (unique_key IS NULL OR key_until <= :at)
ORDER BY finished_at
LIMIT :limit
"""

DELETE: Final = """
DELETE FROM records
WHERE id = :id AND finished_at < :before AND status IN ('completed', 'failed', 'cancelled', 'expired')
  AND (unique_key IS NULL OR key_until <= :at)
"""

# ------------------------------------------------------------ schedules

SCHEDULES: Final = "SELECT body FROM schedules"

SCHEDULE: Final = "SELECT body FROM schedules WHERE name = :name"

ADD_SCHEDULE: Final = """
INSERT INTO schedules (name, version, body) VALUES (:name, :version, :body)
ON CONFLICT (name) DO NOTHING
"""

CHANGE_SCHEDULE: Final = """
UPDATE schedules SET version = :version, body = :body
WHERE name = :name AND version = :version - 1
"""
