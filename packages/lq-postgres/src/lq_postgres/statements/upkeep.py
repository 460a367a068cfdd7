"""Workers, queues, and what is done to records besides claiming and settling them."""

from typing import Final

REQUEST_CANCEL: Final = """
UPDATE lq.records SET cancel_requested = true
WHERE id = $1 AND epoch = $2 AND status IN ('dispatched', 'running')
RETURNING id
"""

# Ids of version 7 are in the order of creation: $4 bounds the walk to what was created before it could have ended.
DELETE_ENDED: Final = """
DELETE FROM lq.records
WHERE id = ANY(ARRAY(
  SELECT r.id FROM lq.records r WHERE r.status = $1 AND r.finished_at < $2 AND r.id < $4
    AND (r.held_key IS NULL OR r.key_until <= coalesce($5::timestamptz, now()))
  ORDER BY r.id LIMIT $3
  FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

DELETE_MANY: Final = """
DELETE FROM lq.records
WHERE id = ANY(ARRAY(
  SELECT r.id FROM lq.records r
  WHERE r.id = ANY($1::uuid[]) AND r.status IN ('completed', 'failed', 'cancelled', 'expired')
    AND (r.held_key IS NULL OR r.key_until <= coalesce($2::timestamptz, now()))
  FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

REGISTER: Final = """
INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, queues, execution_backends)
VALUES ($1, true, $2, coalesce($3::timestamptz, now()), $4, $5, $6)
ON CONFLICT (id) DO UPDATE
SET alive = true, started_at = excluded.started_at, seen_at = excluded.seen_at,
    concurrency = excluded.concurrency, queues = excluded.queues, execution_backends = excluded.execution_backends
"""

# A record that names a worker finds a row of it, be it of a dead one: so it is found when it is an orphan.
KNOW: Final = """
INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, execution_backends)
SELECT DISTINCT t.id, false, now(), now(), 0, '{}'::text[] FROM unnest($1::text[]) AS t(id)
ON CONFLICT (id) DO NOTHING
"""

BEAT: Final = """
UPDATE lq.workers SET seen_at = coalesce($2::timestamptz, now()) WHERE id = $1 AND alive
RETURNING clock_timestamp()
"""

RETIRE: Final = """
UPDATE lq.workers SET alive = false WHERE id = $1
"""

WORKERS: Final = """
SELECT id, queues, execution_backends, concurrency, started_at, seen_at FROM lq.workers WHERE alive ORDER BY started_at
"""

# A beat that lies ahead was heard before the clock was set back: the worker does not live on until it has caught up.
DECLARE_DEAD: Final = """
UPDATE lq.workers
SET alive = seen_at > coalesce($1::timestamptz, now()), seen_at = least(seen_at, coalesce($1::timestamptz, now()))
WHERE alive AND (
  seen_at <= coalesce($1::timestamptz, now()) - make_interval(secs => $2)
  OR seen_at > coalesce($1::timestamptz, now())
)
"""

DEAD: Final = """
SELECT id FROM lq.workers WHERE NOT alive
"""

# Whose worker has no row at all is found beside the others, should it have been forgotten just before the record came.
# What an open transaction is about to end is passed over: a swap would wait for it, and let all others wait.
ORPHANS: Final = """
SELECT {record} FROM lq.records r
WHERE r.status = 'running'
  AND (r.worker_id = ANY($1::text[]) OR r.worker_id NOT IN (SELECT w.id FROM lq.workers w))
ORDER BY r.id LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED
"""

# Two statements in one transaction: the second sees what was claimed by whoever held a row against the first.
HOLD_DEAD: Final = """
SELECT id FROM lq.workers WHERE NOT alive AND id = ANY($1::text[]) FOR UPDATE SKIP LOCKED
"""

FORGET: Final = """
DELETE FROM lq.workers
WHERE id = ANY($1::text[]) AND id NOT IN (
  SELECT r.worker_id FROM lq.records r WHERE r.status = 'running' AND r.worker_id = ANY($1::text[])
)
"""

# $1 name, $2 to $4 the new state, $5 to $7 the old one, $8 whether that is how a queue begins; then the wake-up.
SWAP_QUEUE: Final = """
WITH kept AS (
  INSERT INTO lq.queues AS q (name, paused, limits, draining)
  SELECT $1, $2, $3, $4 WHERE $8::boolean OR EXISTS (SELECT FROM lq.queues WHERE name = $1)
  ON CONFLICT (name) DO UPDATE
  SET paused = excluded.paused, limits = excluded.limits, draining = excluded.draining
  WHERE ROW(q.paused, q.limits, q.draining)
    IS NOT DISTINCT FROM ROW($5::boolean, $6::text, $7::timestamptz)
  RETURNING q.name
)
SELECT pg_notify($9, $10)::text FROM kept
"""

QUEUES: Final = """
SELECT name, paused, limits, draining FROM lq.queues
"""
