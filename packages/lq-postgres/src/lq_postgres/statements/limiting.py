"""
Claiming where there are limits: one such claim at a time, so that none counts what another is about to start.

A count that is taken in the statement that claims would be older than the locks that it waits for. So these are
statements of one transaction: the lock, what there is to choose from, and the claim of what was chosen.
"""

from typing import Final

# Who stands still while it has the lock loses its transaction, or nobody would ever claim again; said here, for pools
# and PgBouncer leave no settings of ours in their sessions.
LOCK: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5s', true),
  pg_advisory_xact_lock(hashtextextended('lq.limits', 0))::text
"""

# The first record of every lane, and how its queue and its concurrency key stand.
# $1 moment, $2 execution backends, $3 queues or null.
FIRSTS: Final = """
WITH RECURSIVE plain(execution_backend, queue) AS (
  SELECT b.name, first.queue
  FROM unnest($2::text[]) AS b(name) CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name
    ORDER BY r.queue DESC LIMIT 1
  ) first
  UNION ALL
  SELECT plain.execution_backend, next.queue
  FROM plain CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL
      AND r.execution_backend = plain.execution_backend AND r.queue < plain.queue
    ORDER BY r.queue DESC LIMIT 1
  ) next
), keyed(execution_backend, queue, concurrency_key) AS (
  SELECT b.name, first.queue, first.concurrency_key
  FROM unnest($2::text[]) AS b(name) CROSS JOIN LATERAL (
    SELECT r.queue, r.concurrency_key FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = b.name
    ORDER BY r.queue, r.concurrency_key LIMIT 1
  ) first
  UNION ALL
  SELECT keyed.execution_backend, next.queue, next.concurrency_key
  FROM keyed CROSS JOIN LATERAL (
    SELECT r.queue, r.concurrency_key FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = keyed.execution_backend
      AND (r.queue, r.concurrency_key) > (keyed.queue, keyed.concurrency_key)
    ORDER BY r.queue, r.concurrency_key LIMIT 1
  ) next
), queues AS MATERIALIZED (
  SELECT q.name, q.paused, q.limits, q.draining,
    (SELECT count(*) FROM lq.records r WHERE q.limits IS NOT NULL AND r.permit_queue = q.name) AS running,
    (SELECT b.full_at FROM lq.buckets b WHERE q.limits IS NOT NULL AND b.kind = 'queue' AND b.name = q.name) AS full_at
  FROM lq.queues q
), lanes AS MATERIALIZED (
  SELECT l.execution_backend, l.queue, l.concurrency_key, q.limits, q.draining, q.running, q.full_at
  FROM (
    SELECT plain.execution_backend, plain.queue, NULL::text AS concurrency_key FROM plain
    UNION ALL
    SELECT keyed.execution_backend, keyed.queue, keyed.concurrency_key FROM keyed
  ) l
  LEFT JOIN queues q ON q.name = l.queue
  WHERE q.paused IS NOT TRUE AND ($3::text[] IS NULL OR l.queue = ANY($3::text[]))
)
SELECT coalesce($1::timestamptz, statement_timestamp()), lanes.execution_backend, lanes.queue, lanes.draining,
  lanes.limits, lanes.running, lanes.full_at, NULL, NULL, 0, NULL, c.priority, c.scheduled_at, c.id
FROM lanes CROSS JOIN LATERAL (
  SELECT r.priority, r.scheduled_at, r.id FROM lq.records r
  WHERE r.ready AND r.concurrency_key IS NULL
    AND r.execution_backend = lanes.execution_backend AND r.queue = lanes.queue
    AND (lanes.draining IS NULL OR r.created_at < lanes.draining)
    AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
  ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT 1
) c
WHERE lanes.concurrency_key IS NULL
UNION ALL
SELECT coalesce($1::timestamptz, statement_timestamp()), lanes.execution_backend, lanes.queue, lanes.draining,
  lanes.limits, lanes.running, lanes.full_at, lanes.concurrency_key, c.limits,
  (SELECT count(*) FROM lq.records r WHERE r.permit_key = lanes.concurrency_key),
  (SELECT b.full_at FROM lq.buckets b WHERE b.kind = 'key' AND b.name = lanes.concurrency_key),
  c.priority, c.scheduled_at, c.id
FROM lanes CROSS JOIN LATERAL (
  SELECT r.priority, r.scheduled_at, r.id, r.limits FROM lq.records r
  WHERE r.ready AND r.concurrency_key = lanes.concurrency_key
    AND r.execution_backend = lanes.execution_backend AND r.queue = lanes.queue
    AND (lanes.draining IS NULL OR r.created_at < lanes.draining)
    AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
  ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT 1
) c
WHERE lanes.concurrency_key IS NOT NULL
"""

# What stands behind the first records: as many of each lane as it could start.
# $1 moment, then the lanes: number, execution backend, queue, concurrency key or null, draining, how many.
REST: Final = """
WITH lanes AS MATERIALIZED (
  SELECT * FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[])
    AS l(number, execution_backend, queue, concurrency_key, draining, size)
)
SELECT lanes.number, c.priority, c.scheduled_at, c.id
FROM lanes CROSS JOIN LATERAL (
  SELECT r.priority, r.scheduled_at, r.id FROM lq.records r
  WHERE r.ready AND r.concurrency_key IS NULL
    AND r.execution_backend = lanes.execution_backend AND r.queue = lanes.queue
    AND (lanes.draining IS NULL OR r.created_at < lanes.draining)
    AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
  ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT lanes.size
) c
WHERE lanes.concurrency_key IS NULL
UNION ALL
SELECT lanes.number, c.priority, c.scheduled_at, c.id
FROM lanes CROSS JOIN LATERAL (
  SELECT r.priority, r.scheduled_at, r.id FROM lq.records r
  WHERE r.ready AND r.concurrency_key = lanes.concurrency_key
    AND r.execution_backend = lanes.execution_backend AND r.queue = lanes.queue
    AND (lanes.draining IS NULL OR r.created_at < lanes.draining)
    AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
  ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT lanes.size
) c
WHERE lanes.concurrency_key IS NOT NULL
"""

# $1 moment, $2 worker, $3 ids, $4 status, $5 attempts to add, $6 claim number, $7 queues that limit how many run.
CLAIM_CHOSEN: Final = """
WITH worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $2 AND w.alive FOR KEY SHARE
), claimed AS (
  UPDATE lq.records r
  SET status = $4, ready = NULL, epoch = r.epoch + 1, attempt = r.attempt + $5,
      worker_id = CASE WHEN $5 = 0 THEN r.worker_id ELSE $2 END, claim_number = $6,
      permit_key = r.concurrency_key, permit_queue = CASE WHEN r.queue = ANY($7::text[]) THEN r.queue END,
      started_at = coalesce($1::timestamptz, statement_timestamp()), finished_at = NULL, progress = NULL,
      key_released = r.key_released OR r.key_scope = 'started',
      held_key = CASE WHEN NOT r.key_released AND r.key_scope <> 'started' THEN r.key END,
      shelf = CASE WHEN $4 = 'dispatched' OR r.execution_backend NOT IN ('local', 'immediate') THEN $4 END
  WHERE r.id = ANY(ARRAY(
    SELECT c.id FROM lq.records c WHERE c.id = ANY($3::uuid[]) AND c.ready AND EXISTS (SELECT FROM worker)
    FOR UPDATE SKIP LOCKED
  ))
  RETURNING {record}
), answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM worker) AS alive
)
SELECT answer.*, claimed.* FROM answer LEFT JOIN claimed ON true
"""

KEEP_BUCKETS: Final = """
INSERT INTO lq.buckets (kind, name, full_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[])
ON CONFLICT (kind, name) DO UPDATE SET full_at = excluded.full_at
"""

DROP_FULL_BUCKETS: Final = """
DELETE FROM lq.buckets WHERE full_at <= $1
"""

# What was started without a claim, by its id or inline. Its worker is known again, should it have been forgotten before
# the record was there: as in `upkeep.KNOW`.
COUNT_IN_THESE: Final = """
WITH known AS (
  INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, execution_backends)
  SELECT DISTINCT r.worker_id, false, now(), now(), 0, '{}'::text[] FROM lq.records r
  WHERE r.id = ANY($1::uuid[]) AND r.status = 'running' AND r.worker_id IS NOT NULL
  ON CONFLICT (id) DO NOTHING
)
UPDATE lq.records SET permit_queue = queue
WHERE id = ANY($1::uuid[]) AND status IN ('running', 'dispatched') AND permit_queue IS NULL
  AND queue IN (SELECT q.name FROM lq.queues q WHERE q.limits IS NOT NULL)
"""

# After the lock: waits for the claims under way, which began before a queue had a limit.
AWAIT_CLAIMS: Final = """
SELECT w.id FROM lq.workers w WHERE w.alive ORDER BY w.id FOR UPDATE
"""

# A record that somebody holds is about to end, or is met on the next round.
COUNT_IN: Final = """
WITH uncounted AS MATERIALIZED (
  SELECT r.id FROM lq.records r
  WHERE r.queue = $1 AND r.status IN ('running', 'dispatched') AND r.permit_queue IS NULL
), counted AS (
  UPDATE lq.records r SET permit_queue = r.queue
  WHERE r.id = ANY(ARRAY(
    SELECT c.id FROM lq.records c
    WHERE c.id = ANY(ARRAY(SELECT uncounted.id FROM uncounted)) AND c.status IN ('running', 'dispatched')
    FOR UPDATE SKIP LOCKED
  ))
  RETURNING r.id
)
SELECT id FROM uncounted WHERE id NOT IN (SELECT counted.id FROM counted)
"""
