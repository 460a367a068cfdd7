"""The SQL of the SQLite queue backend that finds and counts records; the rules are those of ``write_statements.py``."""

from collections.abc import Sequence
from typing import Final

from lq_core.queue.search import Words

GET: Final = "SELECT * FROM records WHERE id = ?"

# It changes when another connection, such as that of the writer, has committed.
DATA_VERSION: Final = "PRAGMA data_version"

OVERDUE: Final = """
SELECT * FROM records
WHERE expires_at IS NOT NULL AND status = 'pending' AND expires_at <= :at
ORDER BY expires_at
LIMIT :limit
"""

BLOCKED: Final = "SELECT id, after FROM records WHERE blocked = 1 ORDER BY id"

SUCCESSORS: Final = """
SELECT r.id, r.after FROM successors AS s JOIN records AS r ON r.id = s.successor
WHERE s.predecessor = ? AND r.blocked
"""

ALL_SUCCESSORS: Final = """
SELECT r.* FROM successors AS s JOIN records AS r ON r.id = s.successor
WHERE s.predecessor = :id
ORDER BY s.successor
LIMIT :limit
"""

HAS_NOT_ENDED: Final = "SELECT 1 FROM records WHERE id = ? AND finished_at IS NULL"

CANCEL_REQUESTS: Final = "SELECT * FROM records WHERE cancel_requested = 1 ORDER BY id"

# Queue by queue, which takes half the time of a GROUP BY.
COUNT_ENDED: Final = """
SELECT count(*) FROM records
WHERE finished_at IS NOT NULL AND status = :status AND queue = :queue
"""

# Each part is answered from an index. The last two count blocked records and pending ones with a request to cancel.
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

DUE: Final = """
SELECT queue, count(*), min(scheduled_at) FROM records
WHERE ready = 1 AND (expires_at IS NULL OR expires_at > :at)
GROUP BY execution_backend, queue
UNION ALL
SELECT queue, count(*), min(scheduled_at) FROM records
WHERE ready = 0 AND scheduled_at <= :at AND (expires_at IS NULL OR expires_at > :at)
GROUP BY execution_backend, queue
"""

# The turn of a record may be earlier than the record, and no index tells when that was created.
HAS_TURNS: Final = "SELECT 1 FROM records WHERE ready = 1 AND metadata IS NOT NULL AND fairness_key IS NOT NULL LIMIT 1"

DUE_WITH_TURNS: Final = DUE.replace(
    "min(scheduled_at)", "min(CASE WHEN fairness_key IS NULL THEN scheduled_at ELSE max(scheduled_at, created_at) END)"
)

# ------------------------------------------------------------ RecordFilter

# The rest of every search. A parameter that is NULL matches every record.
MATCHES: Final = """
  AND (:statuses IS NULL OR +status IN (SELECT value FROM json_each(:statuses)))
  AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
  AND (:task_names IS NULL OR task_name IN (SELECT value FROM json_each(:task_names)))
  AND (:execution_backends IS NULL OR execution_backend IN (SELECT value FROM json_each(:execution_backends)))
  AND (:key IS NULL OR key = :key)
  AND (:schedule IS NULL OR schedule = :schedule)
  AND (NOT :external OR +status = 'dispatched' OR execution_ref IS NOT NULL)
  AND (:created_after IS NULL OR created_at > :created_after)
  AND (:created_before IS NULL OR created_at < :created_before)
  AND (:finished_after IS NULL OR finished_at > :finished_after)
  AND (:finished_before IS NULL OR finished_at < :finished_before)
"""

# The id before this many records older than :before.
BEFORE_NEXT: Final = "SELECT id FROM records WHERE id < :before ORDER BY id DESC LIMIT 1 OFFSET :walked"

# The id before the oldest of the newest records.
BEFORE_NEWEST: Final = "SELECT id FROM records ORDER BY id DESC LIMIT 1 OFFSET :newest"

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

# Few records have one key: SQLite finds those first, then sorts them.
# The unary plus keeps SQLite from walking all records in the order of their ids instead.
FIND_WITH_KEY: Final = f"""
SELECT * FROM records
WHERE key = :key AND key IS NOT NULL AND +id < :before AND +id > :after {MATCHES}
ORDER BY CASE WHEN :oldest_first THEN id END, id DESC
LIMIT :limit
"""  # noqa: S608 -- joins two constants of this file

# The newest records of a status, or the oldest ones, from records_not_completed; its condition stands here too.
FIND_WITH_STATUS: Final = f"""
SELECT * FROM records
WHERE status = :status AND status IN ('failed', 'cancelled', 'expired') AND id < :before AND id > :after {MATCHES}
ORDER BY id DESC
LIMIT :limit
"""  # noqa: S608 -- joins two constants of this file

FIND_OLDEST_WITH_STATUS: Final = FIND_WITH_STATUS.replace("id DESC", "id")

# The records of some statuses, from the partial indexes alone; in_queues() fills in the {queues}.
WITH_STATUS: Final = """
  SELECT rowid FROM records
  WHERE finished_at IS NOT NULL AND status IN (SELECT value FROM json_each(:statuses)) {queues}
  UNION ALL
  SELECT rowid FROM records
  WHERE status IN ('dispatched', 'running') AND status IN (SELECT value FROM json_each(:statuses)) {queues}
  UNION ALL
  SELECT rowid FROM records WHERE ready = 1 AND :pending {queues}
  UNION ALL
  SELECT rowid FROM records WHERE ready = 0 AND :pending {queues}
  UNION ALL
  SELECT rowid FROM records WHERE blocked = 1 AND :pending {queues}
  UNION ALL
  SELECT rowid FROM records WHERE cancel_requested = 1 AND status = 'pending' AND :pending {queues}
"""

COUNT_FEW: Final = f"SELECT count(*) FROM ({WITH_STATUS} LIMIT :few)"  # noqa: S608 -- joins two constants of this file

FIND_FEW: Final = f"""
SELECT * FROM records
WHERE rowid IN ({WITH_STATUS}) AND +id < :before AND +id > :after {MATCHES}
ORDER BY CASE WHEN :oldest_first THEN id END, id DESC
LIMIT :limit
"""  # noqa: S608 -- joins constants of this file

COUNT: Final = f"SELECT count(*) FROM records WHERE true {MATCHES}"  # noqa: S608 -- joins two constants of this file

COUNT_NEWEST: Final = f"SELECT count(*) FROM records WHERE id > :after {MATCHES}"  # noqa: S608 -- joins two constants of this file

COUNT_WITH_STATUS: Final = f"SELECT count(*) FROM records WHERE rowid IN ({WITH_STATUS}) {MATCHES}"  # noqa: S608 -- joins constants of this file


def in_queues(statement: str, *, some: bool) -> str:
    """Let the part that reads the partial indexes look at some queues alone: each of these indexes has the queue."""
    return statement.replace("{queues}", "AND queue IN (SELECT value FROM json_each(:queues))" if some else "")


def with_words(statement: str, words: Sequence[Words]) -> str:
    """Add conditions on the text of records to a search; :word_0_0 is the first fragment of the first one."""
    added = "".join(
        f"  AND ({' OR '.join(f'instr({c}, :word_{n}_{m})' for c in one.columns for m in range(len(one.fragments)))})\n"
        for n, one in enumerate(words)
    )
    return statement.replace(MATCHES, MATCHES + added)


# ------------------------------------------------------------ backup

CHECK_ALL: Final = "PRAGMA integrity_check(1)"

COUNT_ALL: Final = "SELECT count(*) FROM records"
