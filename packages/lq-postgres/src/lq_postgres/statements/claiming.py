"""Settling and claiming, in one statement."""

from typing import Final

# $1 moment, $2 and $3 wake-up, $4 to $10 claim, from $11 on swaps.
# Only the epoch is the fence: another condition would make the plan quadratic.
SETTLED: Final = """
WITH RECURSIVE settled AS (
  UPDATE lq.records r
  SET {replaced}, key_released = r.key_released OR s.key_released,
      semaphore_key = CASE WHEN s.status IN ('running', 'dispatched') THEN r.concurrency_key END,
      semaphore_queue = CASE WHEN s.status IN ('running', 'dispatched') THEN r.semaphore_queue END,
      held_key = CASE WHEN NOT r.key_released AND NOT s.key_released THEN r.key END,
      indexed_status = {indexed_status},
      cancel_requested = r.cancel_requested AND s.status IN ('pending', 'dispatched', 'running'),
      ready = CASE
        WHEN s.status = 'pending' AND NOT r.cancel_requested AND NOT s.blocked
        THEN s.scheduled_at <= coalesce($1::timestamptz, now())
      END
  FROM {given swaps}
  WHERE r.id = s.id AND r.epoch = s.expected
  RETURNING r.id, r.ready, r.status
)"""

# Most records end like this, and only the result is new.
COMPLETED: Final = """
WITH RECURSIVE settled AS (
  UPDATE lq.records r
  SET status = 'completed', epoch = r.epoch + 1, result = s.result, finished_at = s.finished_at,
      ready = NULL, key_released = true, cancel_requested = false,
      worker_id = NULL, execution_ref = NULL, log_url = NULL, progress = NULL, error = NULL, history = NULL,
      semaphore_key = NULL, semaphore_queue = NULL, held_key = NULL, indexed_status = NULL
  FROM unnest($11::uuid[], $12::bigint[], $13::text[], $14::timestamptz[]) AS s(id, expected, result, finished_at)
  WHERE r.id = s.id AND r.epoch = s.expected
  RETURNING r.id, r.ready, r.status
)"""

LOST: Final = """(SELECT array_agg(given.id) FROM unnest($11::uuid[]) AS given(id)
     WHERE given.id NOT IN (SELECT settled.id FROM settled)) AS lost,
    (SELECT pg_notify($2, $3)::text
     WHERE $2::text IS NOT NULL AND EXISTS (SELECT FROM settled WHERE settled.ready)) AS told"""

# `unused` gives types to the parameters of the claim; PostgreSQL never runs it.
SETTLE: Final = """{settled}, unused AS (
  SELECT $1::timestamptz, $4::text, $5::text[], $6::text[], $7::bigint, $8::text, $9::integer, $10::text
)
SELECT {lost}
"""

COMPLETE: Final = SETTLE.replace("{settled}", "{completed}")

# Every claim asks this, so it is simple: without keys and limits, one look at each index answers it.
# The statements of `limiting` find out which limits there are. Keys and limits of paused and unwanted queues do not
# count. For all queues, the walk over the keyed ones passes over those that are paused, and ends with the first other.
LIMITED: Final = """
      EXISTS (SELECT FROM lq.records r WHERE r.ready AND r.concurrency_key IS NOT NULL)
      AND CASE WHEN {queues} IS NULL THEN EXISTS (
        WITH RECURSIVE keyed(execution_backend, queue) AS (
          SELECT b.name, first.queue
          FROM unnest({backends}) AS b(name) CROSS JOIN LATERAL (
            SELECT r.queue FROM lq.records r
            WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = b.name
            ORDER BY r.queue DESC LIMIT 1
          ) first
          UNION ALL
          SELECT keyed.execution_backend, next.queue
          FROM keyed JOIN lq.queues p ON p.name = keyed.queue AND p.paused CROSS JOIN LATERAL (
            SELECT r.queue FROM lq.records r
            WHERE r.ready AND r.concurrency_key IS NOT NULL
              AND r.execution_backend = keyed.execution_backend AND r.queue < keyed.queue
            ORDER BY r.queue DESC LIMIT 1
          ) next
        )
        SELECT FROM keyed WHERE keyed.queue NOT IN (SELECT p.name FROM lq.queues p WHERE p.paused)
      ) ELSE EXISTS (
        SELECT FROM unnest({queues}) AS w(name) CROSS JOIN unnest({backends}) AS b(name) CROSS JOIN LATERAL (
          SELECT FROM lq.records r
          WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = b.name AND r.queue = w.name LIMIT 1
        ) found
        WHERE w.name NOT IN (SELECT p.name FROM lq.queues p WHERE p.paused)
      ) END
      OR EXISTS (
        SELECT FROM lq.queues q
        WHERE (q.limits IS NOT NULL OR q.draining IS NOT NULL) AND NOT q.paused
          AND ({queues} IS NULL OR q.name = ANY({queues}))
      )"""

# The queues with ready records, from the last one on, because claims leave dead entries at the beginning of each.
SEEN: Final = """seen(execution_backend, queue) AS (
  SELECT b.name, first.queue
  FROM unnest({backends}) AS b(name) CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name
    ORDER BY r.queue DESC LIMIT 1
  ) first
  UNION ALL
  SELECT seen.execution_backend, next.queue
  FROM seen CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NULL
      AND r.execution_backend = seen.execution_backend AND r.queue < seen.queue
    ORDER BY r.queue DESC LIMIT 1
  ) next
)"""

# The first records of `part`, in the order of claims: of its queue, or of all queues but the default one if it is null.
# There are two branches because each uses its own index.
FIRST: Final = """
    (SELECT * FROM (
      SELECT ~r.priority AS urgency, r.scheduled_at, r.id FROM lq.records r
      WHERE part.queue IS NOT NULL AND r.ready AND r.concurrency_key IS NULL
        AND r.execution_backend = part.execution_backend AND r.queue = part.queue
        AND (~r.priority, r.scheduled_at, r.id) >= (part.from_urgency, part.from_moment, part.from_id)
        AND ~r.priority < part.below
        AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
      ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT {size} {lock}
    ) one)
    UNION ALL
    (SELECT * FROM (
      SELECT ~r.priority AS urgency, r.scheduled_at, r.id FROM lq.records r
      WHERE part.queue IS NULL AND r.ready AND r.concurrency_key IS NULL AND r.queue <> 'default'
        AND r.execution_backend = part.execution_backend AND r.queue <> ALL (part.closed)
        AND (~r.priority, r.scheduled_at, r.id) >= (part.from_urgency, part.from_moment, part.from_id)
        AND ~r.priority < part.below
        AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
      ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT {size} {lock}
    ) others)"""

# Where a claim begins in its partition, and below which urgency it ends. A partition with several marks is read in as
# many ranges.
FROM: Final = """coalesce(mark.urgency, -9223372036854775808) AS from_urgency,
    coalesce(mark.scheduled_at, '-infinity') AS from_moment,
    coalesce(mark.id, '00000000-0000-0000-0000-000000000000') AS from_id,
    coalesce(mark.below, 9223372036854775807) AS below"""

MARKS: Final = """json_to_recordset($10::text::json)
    AS mark(execution_backend text, queue text, urgency bigint, scheduled_at timestamptz, id uuid, below bigint)"""

# How many seconds it has taken to find the records, by the clock of the server. It stands before what settles.
TOOK: Final = """(SELECT extract(epoch FROM clock_timestamp() - statement_timestamp())::float8
     FROM (SELECT count(*) FROM due) found) AS took"""

CLAIMED: Final = """claimed AS (
  UPDATE lq.records r
  SET status = $8, ready = NULL, epoch = r.epoch + 1, attempt = r.attempt + $9,
      worker_id = CASE WHEN $9 = 0 THEN r.worker_id ELSE $4 END,
      started_at = coalesce($1::timestamptz, now()), finished_at = NULL, progress = NULL,
      key_released = r.key_released OR r.key_scope = 'started',
      held_key = CASE WHEN NOT r.key_released AND r.key_scope <> 'started' THEN r.key END,
      indexed_status = CASE WHEN $8 = 'dispatched' OR r.execution_ref IS NOT NULL THEN $8 END
  WHERE r.id = ANY(ARRAY({chosen}))
  RETURNING {record}
)"""

# $4 worker, $5 execution backends, $6 queues or null, $7 limit, $8 status, $9 attempts to add,
# $10 marks or null: the ranges of each partition in which the claim looks.
# The urgency is the inverted priority, so one comparison of rows finds the place in the index.
# The lock on the worker keeps its row until the claim ends, so a later delete of the row sees the claimed records.
# A wake-up that ends with ! makes the claim announce what it takes; with !!, also that it takes nothing.
# If anything is limited, this statement claims nothing: the statements of `limiting` do.
# A partition is a queue. A claim from all queues has two for each execution backend: the default queue, and all others,
# whatever their number. It passes over records of paused queues there. If it began at the front and so many of these
# wait that this would take long, it looks at each queue with ready records instead.
# The first $7 records are in the $7 partitions whose own first records come first: `nearest`.
# `shares` counts how many of the first $7 records are in each of these, without locks. `due` takes that many of each.
# A single partition gets all $7 without that count, because each reading may pass over many dead entries.
_SETTLE_AND_CLAIM: Final = """{settled}, worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $4 AND w.alive FOR KEY SHARE
), limited AS MATERIALIZED (
  SELECT {limited} AS found
), closed AS MATERIALIZED (
  SELECT coalesce(array_agg(p.name), '{}') AS names FROM lq.queues p WHERE p.paused
), walk AS MATERIALIZED (
  SELECT $6::text[] IS NULL AND $10::text IS NULL AND EXISTS (
    SELECT FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest((SELECT closed.names FROM closed)) AS p(name)
    CROSS JOIN LATERAL (
      SELECT FROM lq.records r
      WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name AND r.queue = p.name LIMIT {many}
    ) w
    WHERE p.name <> 'default'
    OFFSET {many} - 1 LIMIT 1
  ) AS needed
), {seen}, partitions AS MATERIALIZED (
  SELECT wanted.execution_backend, wanted.queue, closed.names AS closed,
    {from}
  FROM (
    SELECT seen.execution_backend, seen.queue FROM seen
    UNION ALL
    SELECT b.name, q.name FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest($6::text[]) AS q(name)
    UNION ALL
    SELECT b.name, found.queue FROM unnest($5::text[]) AS b(name) CROSS JOIN LATERAL (
      (SELECT r.queue FROM lq.records r
       WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name AND r.queue = 'default'
       ORDER BY ~r.priority DESC LIMIT 1)
      UNION ALL
      (SELECT NULL FROM lq.records r
       WHERE r.ready AND r.concurrency_key IS NULL AND r.queue <> 'default' AND r.execution_backend = b.name
       ORDER BY ~r.priority DESC LIMIT 1)
    ) found
    WHERE $6::text[] IS NULL AND $10::text IS NULL AND NOT (SELECT walk.needed FROM walk)
    UNION ALL
    SELECT b.name, q.name FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest(ARRAY['default', NULL]) AS q(name)
    WHERE $6::text[] IS NULL AND $10::text IS NOT NULL
  ) wanted
  CROSS JOIN closed
  LEFT JOIN {marks}
    ON mark.execution_backend = wanted.execution_backend AND mark.queue IS NOT DISTINCT FROM wanted.queue
  WHERE (wanted.queue IS NULL OR wanted.queue <> ALL (closed.names)) AND EXISTS (SELECT FROM worker)
    AND NOT (SELECT limited.found FROM limited)
), nearest AS MATERIALIZED (
  SELECT part.* FROM partitions part CROSS JOIN LATERAL ({first one}
  ) c
  WHERE (SELECT count(*) FROM partitions) > 1
  ORDER BY c.urgency, c.scheduled_at, c.id LIMIT $7
), shares AS MATERIALIZED (
  SELECT partitions.*, $7 AS size FROM partitions WHERE (SELECT count(*) FROM partitions) = 1
  UNION ALL
  SELECT first.execution_backend, first.queue, first.closed, first.from_urgency, first.from_moment, first.from_id,
    first.below, count(*) AS size
  FROM (
    SELECT part.* FROM nearest part CROSS JOIN LATERAL ({first of each}
    ) c
    ORDER BY c.urgency, c.scheduled_at, c.id LIMIT $7
  ) first
  GROUP BY first.execution_backend, first.queue, first.closed, first.from_urgency, first.from_moment, first.from_id,
    first.below
), due AS MATERIALIZED (
  SELECT c.id FROM shares part CROSS JOIN LATERAL ({locked}
  ) c
), {claimed}, answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM worker) AS alive,
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1) AS waiting,
    (SELECT limited.found FROM limited) AS limited,
    (SELECT walk.needed FROM walk) AS walked,
    {took},
    {lost},
    (SELECT pg_notify($2, '-' || count(*) || ' ' || $3)::text FROM due
     WHERE $2::text IS NOT NULL AND $3 LIKE '%!' AND NOT (SELECT limited.found FROM limited)
     HAVING count(*) > 0 OR $2::text IS NOT NULL AND $3 LIKE '%!!' AND NOT (SELECT limited.found FROM limited))
      AS announced
)
SELECT answer.*, claimed.* FROM answer LEFT JOIN claimed ON true
"""

MANY: Final = 500
"""How many records of paused queues a claim passes over before it looks at each queue instead."""

SETTLE_AND_CLAIM: Final = (
    _SETTLE_AND_CLAIM.replace("{first one}", FIRST.replace("{size}", "1").replace("{lock}", ""))
    .replace("{first of each}", FIRST.replace("{size}", "$7").replace("{lock}", ""))
    .replace("{locked}", FIRST.replace("{size}", "part.size").replace("{lock}", "FOR UPDATE SKIP LOCKED"))
    .replace("{seen}", SEEN.replace("{backends}", "CASE WHEN (SELECT walk.needed FROM walk) THEN $5::text[] END"))
    .replace("{limited}", LIMITED.replace("{backends}", "$5::text[]").replace("{queues}", "$6::text[]"))
    .replace("{many}", str(MANY))
    .replace("{from}", FROM)
    .replace("{marks}", MARKS)
    .replace("{took}", TOOK)
    .replace("{claimed}", CLAIMED.replace("{chosen}", "SELECT due.id FROM due"))
)
COMPLETE_AND_CLAIM: Final = SETTLE_AND_CLAIM.replace("{settled}", "{completed}")
