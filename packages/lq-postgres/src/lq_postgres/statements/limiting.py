"""
Claiming under limits: one claim at a time, in one transaction of several statements.

The transaction takes the lock, reads the candidates, and claims the chosen ones. One statement could not do this: its
counts would be older than the lock that it waits for. Where it need not wait, ``keyed_claiming`` can.
"""

from collections.abc import Mapping
from typing import Final

from lq_postgres.statements.claiming import MANY, SEEN

# The timeout ends the transaction of a process that stops while it has the lock. It is set here because PgBouncer and
# pools of the application do not keep the settings of a session. Whether the lock was taken is kept for the next
# statement of the transaction.
LOCK: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5s', true), set_config(
  'lq_claim.has_lock', (pg_advisory_xact_lock(hashtextextended('lq.limits', 0))::text IS NOT NULL)::text, true
)
"""

# The same, if no other claim has the lock.
TRY_LOCK: Final = """
SELECT set_config('idle_in_transaction_session_timeout', '5s', true), set_config(
  'lq_claim.has_lock', pg_try_advisory_xact_lock(hashtextextended('lq.limits', 0))::text, true
)
"""

# The first records of a partition that may start, as many as its size. $1 is the moment.
# There are three branches because each uses its own index. The last one is of all queues but the default one and those
# that are apart.
STARTABLE: Final = """(
  SELECT r.priority, r.scheduled_at, r.id, NULL AS limits FROM lq.records r
  WHERE partitions.concurrency_key IS NULL AND partitions.queue <> '' AND r.ready AND r.concurrency_key IS NULL
    AND r.execution_backend = partitions.execution_backend AND r.queue = partitions.queue {startable}
) UNION ALL (
  SELECT r.priority, r.scheduled_at, r.id, r.limits FROM lq.records r
  WHERE r.ready AND r.concurrency_key = partitions.concurrency_key
    AND r.execution_backend = partitions.execution_backend AND r.queue = partitions.queue {startable}
) UNION ALL (
  SELECT r.priority, r.scheduled_at, r.id, NULL AS limits FROM lq.records r
  WHERE partitions.queue = '' AND r.ready AND r.concurrency_key IS NULL AND r.queue <> 'default'
    AND r.execution_backend = partitions.execution_backend
    AND r.queue <> ALL (ARRAY(SELECT apart.name FROM apart)) {startable}
)"""

IF_STARTABLE: Final = """
    AND (partitions.draining IS NULL OR r.created_at < partitions.draining)
    AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
  ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT partitions.size
"""

APART: Final = """apart AS MATERIALIZED (
  SELECT q.name, q.paused FROM lq.queues q WHERE q.paused OR q.limits IS NOT NULL OR q.draining IS NOT NULL
)"""

# The first $4 keys of the queues that are wanted and not paused, from one to the next, and how many these are.
# No key comes after the highest code point, so from a key of a paused queue the walk goes on at the next queue.
_EACH_KEY: Final = """each(execution_backend, queue, concurrency_key) AS (
  SELECT b.name, q.name COLLATE "C", '' COLLATE "C"
  FROM unnest($2::text[]) AS b(name) CROSS JOIN unnest(coalesce($3::text[], '{""}')) AS q(name)
  UNION ALL
  SELECT each.execution_backend, next.queue, next.concurrency_key
  FROM each LEFT JOIN lq.queues p ON p.name = each.queue AND p.paused CROSS JOIN LATERAL (
    (SELECT r.queue, r.concurrency_key FROM lq.records r
     WHERE $3::text[] IS NULL AND r.ready AND r.concurrency_key IS NOT NULL
       AND r.execution_backend = each.execution_backend
       AND (r.queue, r.concurrency_key)
         > (each.queue, CASE WHEN p.paused THEN chr(1114111) COLLATE "C" ELSE each.concurrency_key END)
     ORDER BY r.queue, r.concurrency_key LIMIT 1)
    UNION ALL
    (SELECT r.queue, r.concurrency_key FROM lq.records r
     WHERE $3::text[] IS NOT NULL AND p.paused IS NULL AND r.ready AND r.concurrency_key IS NOT NULL
       AND r.execution_backend = each.execution_backend AND r.queue = each.queue
       AND r.concurrency_key > each.concurrency_key
     ORDER BY r.concurrency_key LIMIT 1)
  ) next
), walked AS MATERIALIZED (
  SELECT each.* FROM each LIMIT $4
), keyed AS (
  SELECT walked.*, (SELECT count(*) FROM walked) AS number, walked.queue AS place FROM walked
  WHERE walked.concurrency_key <> ''
)"""

# The keys of the first $4 records of each place in the order of claims, and the number of these records.
_FIRST_KEYS: Final = """keyed AS MATERIALIZED (
  SELECT places.execution_backend, first.queue, first.concurrency_key, first.number,
    coalesce(places.queue, '') AS place
  FROM places LEFT JOIN lq.queues q ON q.name = places.queue CROSS JOIN LATERAL (
    SELECT one.queue, one.concurrency_key, count(*) AS number FROM (
      (SELECT r.queue, r.concurrency_key FROM lq.records r
       WHERE places.queue IS NOT NULL AND r.ready AND coalesce(r.concurrency_key, '') <> ''
         AND r.execution_backend = places.execution_backend AND r.queue = places.queue
         AND (q.draining IS NULL OR r.created_at < q.draining)
         AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
       ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT $4)
      UNION ALL
      (SELECT r.queue, r.concurrency_key FROM lq.records r
       WHERE places.queue IS NULL AND r.ready AND coalesce(r.concurrency_key, '') <> '' AND r.queue <> 'default'
         AND r.execution_backend = places.execution_backend
         AND r.queue <> ALL (ARRAY(SELECT apart.name FROM apart))
         AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
       ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT $4)
    ) one
    GROUP BY one.queue, one.concurrency_key
  ) first
)"""

# Counts the keys up to $3. $1 execution backends, $2 queues or null.
COUNT_KEYS: Final = """
WITH RECURSIVE {each}
SELECT count(*) FROM walked
""".replace("{each}", _EACH_KEY.replace("$2::", "$1::").replace("$3::", "$2::").replace("$4", "$3"))

# Whether so many records of queues that are apart wait that it would take long to pass over them.
# $2 execution backends, $3 queues or null.
WALK: Final = """walk AS MATERIALIZED (
  SELECT $3::text[] IS NULL AND EXISTS (
    SELECT FROM apart CROSS JOIN unnest($2::text[]) AS b(name) CROSS JOIN LATERAL (
      (SELECT FROM lq.records r
       WHERE r.ready AND r.concurrency_key IS NULL AND r.execution_backend = b.name AND r.queue = apart.name
       LIMIT {many})
      UNION ALL
      (SELECT FROM lq.records r
       WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = b.name AND r.queue = apart.name
       LIMIT {many})
    ) w
    WHERE apart.name <> 'default'
    OFFSET {many} - 1 LIMIT 1
  ) AS needed
)""".replace("{many}", str(MANY))

# The first record of each partition, and the state of its queue and its concurrency key.
# $1 moment, $2 execution backends, $3 queues or null, $4 limit of the keys.
# A place is a queue. For all queues, there is one for each queue that is apart, because it has limits or is draining,
# one for the default queue, and one for all others, whatever their number: null. If it would take long to pass over the
# queues that are apart, each queue with ready records is a place of its own.
_PARTITIONS: Final = """{apart}, {walk}, {seen}, seen_keyed(execution_backend, queue) AS (
  SELECT b.name, '' COLLATE "C" FROM unnest(CASE WHEN (SELECT walk.needed FROM walk) THEN $2::text[] END) AS b(name)
  UNION ALL
  SELECT seen_keyed.execution_backend, next.queue
  FROM seen_keyed CROSS JOIN LATERAL (
    SELECT r.queue FROM lq.records r
    WHERE r.ready AND r.concurrency_key IS NOT NULL AND r.execution_backend = seen_keyed.execution_backend
      AND r.queue > seen_keyed.queue
    ORDER BY r.queue LIMIT 1
  ) next
), places AS MATERIALIZED (
  SELECT seen.execution_backend, seen.queue FROM seen
  UNION
  SELECT seen_keyed.execution_backend, seen_keyed.queue FROM seen_keyed WHERE seen_keyed.queue <> ''
  UNION
  SELECT b.name, wanted.name
  FROM unnest($2::text[]) AS b(name) CROSS JOIN (
    SELECT unnest($3::text[]) AS name
    UNION ALL
    SELECT unnest(ARRAY['default', NULL]) WHERE $3::text[] IS NULL AND NOT (SELECT walk.needed FROM walk)
    UNION ALL
    SELECT unnest(ARRAY(SELECT apart.name FROM apart WHERE $3::text[] IS NULL AND NOT (SELECT walk.needed FROM walk)))
  ) wanted
  EXCEPT
  SELECT b.name, apart.name FROM unnest($2::text[]) AS b(name) CROSS JOIN apart WHERE apart.paused
), {keyed}, queues AS MATERIALIZED (
  SELECT q.name, q.paused, q.limits, q.draining,
    (SELECT count(*) FROM lq.records r
     WHERE q.limits IS NOT NULL AND r.semaphore_queue = q.name {that goes on}) AS running,
    (SELECT b.full_at FROM lq.buckets b WHERE q.limits IS NOT NULL AND b.kind = 'queue' AND b.name = q.name) AS full_at
  FROM lq.queues q WHERE $3::text[] IS NULL OR q.name = ANY($3::text[])
), partitions AS MATERIALIZED (
  SELECT l.execution_backend, l.queue, l.concurrency_key, l.number, l.place, q.limits, q.draining, q.running, q.full_at,
    1 AS size
  FROM (
    SELECT places.execution_backend, coalesce(places.queue, '') AS queue, NULL::text AS concurrency_key, 0 AS number,
      coalesce(places.queue, '') AS place
    FROM places
    UNION ALL
    SELECT keyed.execution_backend, keyed.queue, keyed.concurrency_key, keyed.number, keyed.place FROM keyed
  ) l
  LEFT JOIN queues q ON q.name = l.queue
  WHERE q.paused IS NOT TRUE {and}
)"""

_FIRSTS: Final = """
SELECT coalesce($1::timestamptz, statement_timestamp()), partitions.execution_backend, partitions.queue,
  partitions.draining, partitions.limits, partitions.running, partitions.full_at, partitions.concurrency_key, c.limits,
  (SELECT count(*) FROM lq.records r WHERE r.semaphore_key = partitions.concurrency_key {that goes on}),
  (SELECT b.full_at FROM lq.buckets b
   WHERE c.limits LIKE '%"rate"%' AND b.kind = 'key' AND b.name = partitions.concurrency_key),
  c.priority, c.scheduled_at, c.id, partitions.number, partitions.place
FROM partitions CROSS JOIN LATERAL ({startable}) c
"""


# The same, after settling in the same statement. For that, this has the parameters of `claiming.SETTLE_AND_CLAIM`, of
# which $8 to $10 are null. It sees records as they were before, so it does not count those that have just ended.
# Without the lock, it only settles: so what has ended is soon stored, although another claim is under way.
_SETTLE_AND_FIND_FIRSTS: Final = """{settled}, unused AS (
  SELECT $8::text, $9::text, $10::text
), answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM lq.workers w WHERE w.id = $4 AND w.alive) AS alive,
    current_setting('lq_claim.has_lock')::boolean AS has_lock,
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1) AS waiting,
    {lost}
), {partitions}
SELECT answer.*, firsts.* FROM answer LEFT JOIN ({firsts}) firsts ON true
"""
THAT_GOES_ON: Final = """
      AND r.id <> ALL (ARRAY(SELECT s.id FROM settled s WHERE s.status NOT IN ('running', 'dispatched')))"""


def _firsts(keyed: str) -> str:
    return _filled(f"\nWITH RECURSIVE {_PARTITIONS}{_FIRSTS}", keyed).replace("{and}", "").replace("{that goes on}", "")


def _settle_and_find_firsts(keyed: str) -> str:
    partitions, firsts = (numbered(_filled(sql, keyed)) for sql in (_PARTITIONS, _FIRSTS))
    sql = _SETTLE_AND_FIND_FIRSTS.replace("{partitions}", partitions).replace("{firsts}", firsts)
    sql = sql.replace("{and}", "AND (SELECT answer.alive AND answer.has_lock FROM answer)")
    return sql.replace("{that goes on}", THAT_GOES_ON)


def numbered(sql: str) -> str:
    """Give the parameters the numbers that they have in a statement that settles."""
    return sql.replace("$4", "$7").replace("$3", "$6").replace("$2", "$5")


def _filled(sql: str, keyed: str) -> str:
    backends = "CASE WHEN (SELECT walk.needed FROM walk) THEN $2::text[] END"
    sql = sql.replace("{apart}", APART).replace("{walk}", WALK).replace("{keyed}", keyed)
    return sql.replace("{seen}", SEEN.replace("{backends}", backends))


FIRSTS_IN_ORDER: Final = _firsts(_FIRST_KEYS)
FIRSTS_BY_KEY: Final = _firsts(_EACH_KEY)

SETTLING: Final[Mapping[str, str]] = {
    FIRSTS_IN_ORDER: _settle_and_find_firsts(_FIRST_KEYS),
    FIRSTS_BY_KEY: _settle_and_find_firsts(_EACH_KEY),
}
COMPLETING: Final[Mapping[str, str]] = {
    firsts: sql.replace("{settled}", "{completed}") for firsts, sql in SETTLING.items()
}
"""The statements that settle before they find these."""

# As many records of each partition as it could start.
# $1 moment, then the partitions: number, execution backend, queue, concurrency key or null, draining, size.
ENTRIES: Final = """
WITH {apart}, partitions AS MATERIALIZED (
  SELECT * FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[])
    AS l(number, execution_backend, queue, concurrency_key, draining, size)
)
SELECT partitions.number, c.priority, c.scheduled_at, c.id
FROM partitions CROSS JOIN LATERAL ({startable}) c
""".replace("{apart}", APART)

# $1 moment, $2 worker, $3 ids, $4 status, $5 attempts to add, $6 queues that limit how many run.
CLAIM_CHOSEN: Final = """
WITH worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $2 AND w.alive FOR KEY SHARE
), claimed AS (
  UPDATE lq.records r
  SET status = $4, ready = NULL, epoch = r.epoch + 1, attempt = r.attempt + $5,
      worker_id = CASE WHEN $5 = 0 THEN r.worker_id ELSE $2 END,
      semaphore_key = r.concurrency_key, semaphore_queue = CASE WHEN r.queue = ANY($6::text[]) THEN r.queue END,
      started_at = coalesce($1::timestamptz, statement_timestamp()), finished_at = NULL, progress = NULL,
      key_released = r.key_released OR r.key_scope = 'started',
      held_key = CASE WHEN NOT r.key_released AND r.key_scope <> 'started' THEN r.key END,
      indexed_status = CASE WHEN $4 = 'dispatched' OR r.execution_ref IS NOT NULL THEN $4 END
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

DROP_FULL_BUCKETS: Final = "DELETE FROM lq.buckets WHERE full_at <= $1"

# Records that were started without a claim: by id, or inline. As in `upkeep.KNOW`, each worker gets a row.
COUNT_IN_THESE: Final = """
WITH known AS (
  INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, execution_backends)
  SELECT DISTINCT r.worker_id, false, now(), now(), 0, '{}'::text[] FROM lq.records r
  WHERE r.id = ANY($1::uuid[]) AND r.status = 'running' AND r.worker_id IS NOT NULL
  ON CONFLICT (id) DO NOTHING
)
UPDATE lq.records SET semaphore_queue = queue
WHERE id = ANY($1::uuid[]) AND status IN ('running', 'dispatched') AND semaphore_queue IS NULL
  AND queue IN (SELECT q.name FROM lq.queues q WHERE q.limits IS NOT NULL)
"""

# After the lock, this waits for claims that began before the queue had a limit.
AWAIT_CLAIMS: Final = "SELECT w.id FROM lq.workers w WHERE w.alive ORDER BY w.id FOR UPDATE"

# A record that a transaction holds is counted in a later round, unless it ends.
COUNT_IN: Final = """
WITH uncounted AS MATERIALIZED (
  SELECT r.id FROM lq.records r
  WHERE r.queue = $1 AND r.status IN ('running', 'dispatched') AND r.semaphore_queue IS NULL
), counted AS (
  UPDATE lq.records r SET semaphore_queue = r.queue
  WHERE r.id = ANY(ARRAY(
    SELECT c.id FROM lq.records c
    WHERE c.id = ANY(ARRAY(SELECT uncounted.id FROM uncounted)) AND c.status IN ('running', 'dispatched')
    FOR UPDATE SKIP LOCKED
  ))
  RETURNING r.id
)
SELECT id FROM uncounted WHERE id NOT IN (SELECT counted.id FROM counted)
"""
