"""Settling and claiming, which is one statement for both."""

from typing import Final

# $1 moment, $2 and $3 wake-up, $4 to $11 the claim, the swaps from $12 on.
# The epoch alone is the fence: a further condition here makes the plan quadratic.
SETTLED: Final = """
WITH RECURSIVE settled AS (
  UPDATE lq.records r
  SET status = s.status, epoch = s.epoch, attempt = s.attempt, retry_count = s.retry_count, losses = s.losses,
      key_released = r.key_released OR s.key_released, worker_id = s.worker_id, execution_backend = s.execution_backend,
      execution_profile = s.execution_profile, execution_ref = s.execution_ref, log_url = s.log_url,
      scheduled_at = s.scheduled_at, expires_at = s.expires_at, started_at = s.started_at,
      finished_at = s.finished_at, progress = s.progress, result = s.result, error = s.error, history = s.history,
      blocked = s.blocked, claim_number = NULL,
      permit_key = CASE WHEN s.status IN ('running', 'dispatched') THEN r.concurrency_key END,
      permit_queue = CASE WHEN s.status IN ('running', 'dispatched') THEN r.permit_queue END,
      held_key = CASE WHEN NOT r.key_released AND NOT s.key_released THEN r.key END,
      shelf = CASE
        WHEN s.status IN ('dispatched', 'failed', 'cancelled', 'expired') THEN s.status
        WHEN s.status = 'running' AND s.execution_backend NOT IN ('local', 'immediate') THEN s.status
      END,
      cancel_requested = r.cancel_requested AND s.status IN ('pending', 'dispatched', 'running'),
      ready = CASE
        WHEN s.status = 'pending' AND NOT r.cancel_requested AND NOT s.blocked THEN s.scheduled_at <= s.at
      END
  FROM (
    SELECT *, coalesce($1::timestamptz, now()) AS at FROM unnest(
      $12::uuid[], $13::bigint[], $14::text[], $15::bigint[], $16::integer[], $17::integer[], $18::integer[],
      $19::boolean[], $20::text[], $21::text[], $22::text[], $23::text[], $24::text[], $25::timestamptz[],
      $26::timestamptz[], $27::timestamptz[], $28::timestamptz[], $29::text[], $30::text[], $31::text[],
      $32::text[], $33::boolean[]
    ) AS u(
      id, expected, status, epoch, attempt, retry_count, losses, key_released, worker_id, execution_backend,
      execution_profile, execution_ref, log_url, scheduled_at, expires_at, started_at, finished_at, progress,
      result, error, history, blocked
    )
  ) s
  WHERE r.id = s.id AND r.epoch = s.expected
  RETURNING r.id, r.ready
)"""

# The end that most records come to: with nothing to tell but the result, it needs few parameters.
COMPLETED: Final = """
WITH RECURSIVE settled AS (
  UPDATE lq.records r
  SET status = 'completed', epoch = r.epoch + 1, result = s.result, finished_at = s.finished_at,
      ready = NULL, key_released = true, cancel_requested = false, claim_number = NULL,
      worker_id = NULL, execution_ref = NULL, log_url = NULL, progress = NULL, error = NULL, history = NULL,
      permit_key = NULL, permit_queue = NULL, held_key = NULL, shelf = NULL
  FROM unnest($12::uuid[], $13::bigint[], $14::text[], $15::timestamptz[]) AS s(id, expected, result, finished_at)
  WHERE r.id = s.id AND r.epoch = s.expected
  RETURNING r.id, r.ready
)"""

LOST: Final = """(SELECT array_agg(given.id) FROM unnest($12::uuid[]) AS given(id)
     WHERE given.id NOT IN (SELECT settled.id FROM settled)) AS lost,
    (SELECT pg_notify($2, $3)::text WHERE EXISTS (SELECT FROM settled WHERE settled.ready)) AS told"""

# `unused` gives a type to the parameters that nothing else names; nothing runs it.
SETTLE: Final = """{settled}, unused AS (
  SELECT $1::timestamptz, $4::text, $5::text[], $6::text[], $7::bigint, $8::text, $9::integer, $10::bigint, $11::text
)
SELECT {lost}
"""

COMPLETE: Final = SETTLE.replace("{settled}", "{completed}")

# Asked with every claim, and so as simply as can be: whose limits they are is seen to afterwards.
LIMITED: Final = """
      EXISTS (SELECT FROM lq.records r WHERE r.ready AND r.concurrency_key IS NOT NULL)
      OR EXISTS (SELECT FROM lq.queues q WHERE q.limits IS NOT NULL OR q.draining IS NOT NULL)"""

# $4 worker, $5 execution backends, $6 queues or null, $7 limit, $8 status, $9 attempts to add, $10 claim number, $11
# bookmarks or null: where the lanes are read from. Urgency is the priority, turned round without overflow: so one
# comparison of rows finds the place in the index.
# The lock on the worker keeps its row until the claim is over: whoever deletes it has seen what was claimed.
# Where anything is limited, nothing is claimed here, but by the statements of `limiting`.
# `seen` finds the lanes from their ends: what is claimed leaves dead entries behind at their beginnings.
# `shares` says how many of the first $7 fall to each lane, and locks nothing; `due` takes that many of each.
# One lane alone gets them all, unread: where the horizon is pinned, every reading passes over all dead entries.
SETTLE_AND_CLAIM: Final = """{settled}, worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $4 AND w.alive FOR KEY SHARE
), limited AS MATERIALIZED (
  SELECT {limited} AS found
), seen(execution_backend, queue) AS (
  SELECT b.name, first.queue
  FROM unnest($5::text[]) AS b(name) CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name
    ORDER BY r.queue DESC LIMIT 1
  ) first
  WHERE $6::text[] IS NULL
  UNION ALL
  SELECT seen.execution_backend, next.queue
  FROM seen CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL
      AND r.execution_backend = seen.execution_backend AND r.queue < seen.queue
    ORDER BY r.queue DESC LIMIT 1
  ) next
), lanes AS MATERIALIZED (
  SELECT wanted.execution_backend, wanted.queue,
    coalesce(mark.urgency, -9223372036854775808) AS from_urgency,
    coalesce(mark.scheduled_at, '-infinity') AS from_moment,
    coalesce(mark.id, '00000000-0000-0000-0000-000000000000') AS from_id
  FROM (
    SELECT seen.execution_backend, seen.queue FROM seen
    UNION ALL
    SELECT b.name, q.name FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest($6::text[]) AS q(name)
  ) wanted
  LEFT JOIN json_to_recordset($11::text::json)
    AS mark(execution_backend text, queue text, urgency bigint, scheduled_at timestamptz, id uuid)
    ON mark.execution_backend = wanted.execution_backend AND mark.queue = wanted.queue
  WHERE wanted.queue NOT IN (SELECT p.name FROM lq.queues p WHERE p.paused) AND EXISTS (SELECT FROM worker)
    AND NOT (SELECT limited.found FROM limited)
), shares AS MATERIALIZED (
  SELECT lanes.*, $7 AS size FROM lanes WHERE (SELECT count(*) FROM lanes) = 1
  UNION ALL
  SELECT first.execution_backend, first.queue, first.from_urgency, first.from_moment, first.from_id, count(*) AS size
  FROM (
    SELECT lanes.* FROM lanes CROSS JOIN LATERAL (
      SELECT ~r.priority AS urgency, r.scheduled_at, r.id FROM lq.records r
      WHERE r.ready AND r.concurrency_key IS NULL
        AND r.execution_backend = lanes.execution_backend AND r.queue = lanes.queue
        AND (~r.priority, r.scheduled_at, r.id) >= (lanes.from_urgency, lanes.from_moment, lanes.from_id)
        AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
      ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT $7
    ) c
    WHERE (SELECT count(*) FROM lanes) > 1
    ORDER BY c.urgency, c.scheduled_at, c.id LIMIT $7
  ) first
  GROUP BY first.execution_backend, first.queue, first.from_urgency, first.from_moment, first.from_id
), due AS MATERIALIZED (
  SELECT c.id FROM shares CROSS JOIN LATERAL (
    SELECT r.id FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL
      AND r.execution_backend = shares.execution_backend AND r.queue = shares.queue
      AND (~r.priority, r.scheduled_at, r.id) >= (shares.from_urgency, shares.from_moment, shares.from_id)
      AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
    ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT shares.size
    FOR UPDATE SKIP LOCKED
  ) c
), claimed AS (
  UPDATE lq.records r
  SET status = $8, ready = NULL, epoch = r.epoch + 1, attempt = r.attempt + $9,
      worker_id = CASE WHEN $9 = 0 THEN r.worker_id ELSE $4 END, claim_number = $10,
      started_at = coalesce($1::timestamptz, now()), finished_at = NULL, progress = NULL,
      key_released = r.key_released OR r.key_scope = 'started',
      held_key = CASE WHEN NOT r.key_released AND r.key_scope <> 'started' THEN r.key END,
      shelf = CASE WHEN $8 = 'dispatched' OR r.execution_backend NOT IN ('local', 'immediate') THEN $8 END
  WHERE r.id = ANY(ARRAY(SELECT due.id FROM due))
  RETURNING {record}
), answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM worker) AS alive,
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1) AS waiting,
    (SELECT limited.found FROM limited) AS limited,
    {lost}
)
SELECT answer.*, claimed.* FROM answer LEFT JOIN claimed ON true
"""

COMPLETE_AND_CLAIM: Final = SETTLE_AND_CLAIM.replace("{settled}", "{completed}")

# A claim whose answer was lost with the connection may have happened: this is what it took.
RECOVER: Final = """
SELECT {record} FROM lq.records r
WHERE r.worker_id = $1 AND r.claim_number = $2 AND r.status = 'running'
"""

# now() and not clock_timestamp(), which could not bound the index.
PROMOTE: Final = """
UPDATE lq.records SET ready = true
WHERE id = ANY(ARRAY(
  SELECT r.id FROM lq.records r
  WHERE NOT r.ready AND r.scheduled_at <= coalesce($1::timestamptz, now())
  ORDER BY r.scheduled_at LIMIT $2
  FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

# When something starts that has no limit, and when the first that is put off becomes due. What stands in a queue with
# limits, or has a concurrency key, is not looked at here when it is due already.
# The order names the index: without it, a plan may read the table in the hope of finding one soon.
NEXT_DUE: Final = """
WITH closed AS MATERIALIZED (SELECT p.name FROM lq.queues p WHERE p.paused)
SELECT
  (SELECT r.scheduled_at FROM lq.records r
   WHERE r.ready AND r.concurrency_key IS NULL
     AND r.execution_backend = ANY($1::text[]) AND ($2::text[] IS NULL OR r.queue = ANY($2::text[]))
     AND r.queue NOT IN (SELECT closed.name FROM closed)
     AND r.queue NOT IN (SELECT q.name FROM lq.queues q WHERE q.limits IS NOT NULL OR q.draining IS NOT NULL)
     AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
   ORDER BY r.execution_backend, r.queue, ~r.priority, r.scheduled_at, r.id LIMIT 1),
  (SELECT r.scheduled_at FROM lq.records r LEFT JOIN lq.queues q ON q.name = r.queue
   WHERE NOT r.ready AND r.execution_backend = ANY($1::text[]) AND ($2::text[] IS NULL OR r.queue = ANY($2::text[]))
     AND r.queue NOT IN (SELECT closed.name FROM closed)
     AND (q.draining IS NULL OR r.created_at < q.draining)
     AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
   ORDER BY r.scheduled_at LIMIT 1),
  ({limited})
"""
