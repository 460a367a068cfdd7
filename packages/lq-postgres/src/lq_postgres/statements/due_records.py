"""What becomes due, and which due records brief claims leave out."""

from typing import Final

from lq_postgres.statements.claiming import LIMITED

# Whether a record can be claimed in one of the ranges $1, and how long it has taken to find that out.
LEFT_OUT: Final = """
WITH paused AS MATERIALIZED (
  SELECT coalesce(array_agg(p.name), '{}') AS names FROM lq.queues p WHERE p.paused
), found AS MATERIALIZED (
  SELECT EXISTS (
    SELECT FROM json_to_recordset($1::text::json)
      AS mark(execution_backend text, queue text, urgency bigint, scheduled_at timestamptz)
    CROSS JOIN paused CROSS JOIN LATERAL (
      (SELECT r.id FROM lq.records r
       WHERE mark.queue IS NOT NULL AND mark.queue <> ALL (paused.names) AND r.ready AND r.concurrency_key IS NULL
         AND r.execution_backend = mark.execution_backend AND r.queue = mark.queue
         AND ~r.priority = mark.urgency AND r.scheduled_at < mark.scheduled_at
         AND (r.expires_at IS NULL OR r.expires_at > coalesce($2::timestamptz, now()))
       ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT 1)
      UNION ALL
      (SELECT r.id FROM lq.records r
       WHERE mark.queue IS NULL AND r.queue <> ALL (paused.names) AND r.ready AND r.concurrency_key IS NULL
         AND r.execution_backend = mark.execution_backend AND r.queue <> 'default'
         AND ~r.priority = mark.urgency AND r.scheduled_at < mark.scheduled_at
         AND (r.expires_at IS NULL OR r.expires_at > coalesce($2::timestamptz, now()))
       ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT 1)
    ) one
  ) AS is_there
)
SELECT found.is_there, extract(epoch FROM clock_timestamp() - statement_timestamp())::float8 FROM found
"""

# Unlike clock_timestamp(), now() can bound the index. Records with fairness keys are only found, because
# they need turns.
PROMOTE: Final = """
WITH due AS MATERIALIZED (
  SELECT r.id, r.execution_backend, r.queue, r.priority, {fairness_key} AS fairness_key, r.scheduled_at
  FROM lq.records r
  WHERE NOT r.ready AND r.scheduled_at <= coalesce($1::timestamptz, now())
  ORDER BY r.scheduled_at LIMIT $2
  FOR UPDATE SKIP LOCKED
), promoted AS (
  UPDATE lq.records SET ready = true WHERE id = ANY(ARRAY(SELECT due.id FROM due WHERE due.fairness_key IS NULL))
)
SELECT found.number, due.* FROM (SELECT count(*) AS number FROM due) found
LEFT JOIN due ON due.fairness_key IS NOT NULL
ORDER BY due.scheduled_at, due.id
"""

# The due time of a ready record without limits, the due time of the first record that waits, and whether limits exist.
# The order selects the index: without it, a plan may read the table. Queues that are paused or have limits are passed
# over as a whole. If very many records wait that are not wanted, the answer is a moment before which none is due.
NEXT_DUE: Final = """
WITH RECURSIVE closed AS MATERIALIZED (
  SELECT p.name, p.paused FROM lq.queues p WHERE p.paused OR p.limits IS NOT NULL OR p.draining IS NOT NULL
), seen(execution_backend, queue) AS (
  SELECT b.name, first.queue
  FROM unnest(CASE WHEN $2::text[] IS NULL THEN $1::text[] END) AS b(name) CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name
      AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
    ORDER BY r.queue LIMIT 1
  ) first
  UNION ALL
  SELECT seen.execution_backend, next.queue
  FROM seen JOIN closed ON closed.name = seen.queue CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL
      AND r.execution_backend = seen.execution_backend AND r.queue > seen.queue
      AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
    ORDER BY r.queue LIMIT 1
  ) next
), open(execution_backend, queue) AS (
  SELECT * FROM seen
  UNION ALL
  SELECT b.name, q.name FROM unnest($1::text[]) AS b(name) CROSS JOIN unnest($2::text[]) AS q(name)
), later AS (
  SELECT r.* FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1000
)
SELECT
  (SELECT first.scheduled_at FROM open CROSS JOIN LATERAL (
     SELECT r.scheduled_at FROM lq.records r
     WHERE r.ready AND r.concurrency_key IS NULL
       AND r.execution_backend = open.execution_backend AND r.queue = open.queue
       AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
     ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT 1
   ) first
   WHERE open.queue NOT IN (SELECT closed.name FROM closed) LIMIT 1),
  coalesce(
    (SELECT r.scheduled_at FROM later r LEFT JOIN lq.queues q ON q.name = r.queue
     WHERE r.execution_backend = ANY($1::text[]) AND ($2::text[] IS NULL OR r.queue = ANY($2::text[]))
       AND q.paused IS NOT TRUE AND (q.draining IS NULL OR r.created_at < q.draining)
       AND (r.expires_at IS NULL OR r.expires_at > coalesce($3::timestamptz, now()))
     ORDER BY r.scheduled_at LIMIT 1),
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at OFFSET 999 LIMIT 1)
  ),
  ({limited})
""".replace("{limited}", LIMITED.replace("{backends}", "$1::text[]").replace("{queues}", "$2::text[]"))
