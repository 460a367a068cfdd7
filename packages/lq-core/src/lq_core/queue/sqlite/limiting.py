"""The SQL statements of the SQLite queue backend for queues and limits; the rules are those of ``statements.py``."""

from typing import Final

QUEUES: Final = "SELECT name, paused, limits, draining FROM queues"

QUEUE: Final = "SELECT name, paused, limits, draining FROM queues WHERE name = :name"

SET_QUEUE: Final = """
INSERT OR REPLACE INTO queues (name, paused, limits, draining)
VALUES (:name, :paused, :limits, :draining)
"""

NEXT_READY_KEY: Final = """
SELECT concurrency_key FROM records
WHERE ready = 1 AND execution_backend = :execution_backend AND queue = :queue AND concurrency_key > :key
ORDER BY concurrency_key
LIMIT 1
"""

# As FIRST_READY, with what the limited claim has to know.
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

BUCKET: Final = "SELECT full_at FROM buckets WHERE kind = :kind AND name = :name"

KEEP_BUCKET: Final = "INSERT OR REPLACE INTO buckets (kind, name, full_at) VALUES (?, ?, ?)"

DROP_FULL_BUCKETS: Final = "DELETE FROM buckets WHERE full_at <= :at"
