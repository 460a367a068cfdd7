"""
Settling, and claiming where nothing but the concurrency of keys limits the records: what may start is chosen in SQL.

One statement takes the lock of ``limiting`` and claims. Its counts are older than the lock, so it claims nothing if
anything was committed in between.
"""

from typing import Final

from lq_postgres.statements.claiming import CLAIMED, COMPLETED, SETTLED
from lq_postgres.statements.limiting import APART, THAT_GOES_ON, WALK, numbered

# The first records with keys, or without, of each place in the order of claims.
_FIRST: Final = """
    (SELECT * FROM (
      SELECT r.queue, r.concurrency_key, r.limits, ~r.priority AS urgency, r.scheduled_at, r.id FROM lq.records r
      WHERE places.queue IS NOT NULL AND r.ready AND {kind}
        AND r.execution_backend = places.execution_backend AND r.queue = places.queue
        AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
      ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT {size}
    ) one)
    UNION ALL
    (SELECT * FROM (
      SELECT r.queue, r.concurrency_key, r.limits, ~r.priority AS urgency, r.scheduled_at, r.id FROM lq.records r
      WHERE places.queue IS NULL AND r.ready AND {kind} AND r.queue <> 'default'
        AND r.execution_backend = places.execution_backend AND r.queue <> ALL (ARRAY(SELECT apart.name FROM apart))
        AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, statement_timestamp()))
      ORDER BY ~r.priority, r.scheduled_at, r.id LIMIT {size}
    ) others)"""

# `locked` has the number of this transaction, if it has the lock; 0 if an earlier statement of it has taken the lock,
# because then the snapshot is younger than the lock. Otherwise, another claim may have committed after the snapshot and
# before the lock. The number of its transaction was then in progress for the snapshot, or given later, but is less than
# this one, which is given after the lock. If any such transaction has committed, the counts may not be exact.
_LOCKED: Final = """locked AS MATERIALIZED (
  SELECT CASE
    WHEN current_setting('lq_claim.has_lock', true) = 'true' THEN 0
    WHEN pg_current_xact_id_if_assigned() IS NOT NULL THEN NULL
    WHEN pg_try_advisory_xact_lock(hashtextextended('lq.limits', 0)) THEN pg_current_xact_id()::text::bigint
  END AS number
), seen AS MATERIALIZED (
  SELECT pg_current_snapshot() AS snapshot, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS number
), exact AS MATERIALIZED (
  SELECT locked.number IS NOT NULL AND (locked.number = 0 OR locked.number - seen.number < {most} AND NOT EXISTS (
    SELECT FROM (
      SELECT pg_snapshot_xip(seen.snapshot) AS number
      UNION ALL
      SELECT n::text::xid8 FROM generate_series(seen.number, least(locked.number, seen.number + {most}) - 1) AS later(n)
    ) other
    WHERE pg_xact_status(other.number) = 'committed'
  )) AS found
  FROM locked CROSS JOIN seen
)""".replace("{most}", "1000")

# $1 to $9 are those of `claiming.SETTLE_AND_CLAIM`. $10 is the number of records with keys to read of each place: of
# the default queue and of all others, or of each wanted queue.
# Without the lock and exact counts, it only settles. If a queue has limits, or a key a rate or different limits, it
# claims nothing, and answers that it does not fit. If another record may be one of the first $7 that may start, because
# too many of those that were read may not, it claims nothing, and answers that they do not suffice.
# `room` is how many records of a key may start; the first ones get it, as in lq_core.queue.limits.pick.
# The lock comes before all writes, so that the number of the transaction is younger.
_SETTLE_AND_CLAIM: Final = """{settled first}, {locked}, worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $4 AND w.alive AND EXISTS (SELECT FROM locked) FOR KEY SHARE
), {apart}, {walk}, fit AS MATERIALIZED (
  SELECT NOT (SELECT walk.needed FROM walk) AND NOT EXISTS (
    SELECT FROM apart WHERE NOT apart.paused AND ($6::text[] IS NULL OR apart.name = ANY($6::text[]))
  ) AS found
), places AS MATERIALIZED (
  SELECT b.name AS execution_backend, q.name AS queue
  FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest(coalesce($6::text[], ARRAY['default', NULL])) AS q(name)
  WHERE (SELECT exact.found FROM exact) AND EXISTS (SELECT FROM worker) AND (SELECT fit.found FROM fit)
    AND NOT EXISTS (SELECT FROM apart WHERE apart.name = q.name)
), keyed AS MATERIALIZED (
  SELECT places.execution_backend, places.queue AS place, first.* FROM places CROSS JOIN LATERAL ({first keyed}
  ) first
), keys AS MATERIALIZED (
  SELECT one.name, one.fits,
    CASE WHEN one.fits THEN substring(one.limits FROM '[0-9]+')::bigint - (
      SELECT count(*) FROM lq.records r WHERE r.semaphore_key = one.name {that goes on}
    ) END AS room
  FROM (
    SELECT keyed.concurrency_key AS name, min(keyed.limits COLLATE "C") AS limits,
      count(keyed.limits) = count(*) AND min(keyed.limits COLLATE "C") = max(keyed.limits COLLATE "C")
        AND min(keyed.limits COLLATE "C") ~ '^[{]"concurrency":[0-9]{1,18}[}]$' AS fits
    FROM keyed GROUP BY keyed.concurrency_key
  ) one
), startable AS MATERIALIZED (
  SELECT keyed.execution_backend, keyed.place, keyed.urgency, keyed.scheduled_at, keyed.id,
    row_number() OVER (PARTITION BY keyed.concurrency_key ORDER BY keyed.urgency, keyed.scheduled_at, keyed.id)
      <= keys.room AS found,
    row_number() OVER (
      PARTITION BY keyed.execution_backend, keyed.queue, keyed.concurrency_key
      ORDER BY keyed.urgency, keyed.scheduled_at, keyed.id
    ) = 1 AS is_first
  FROM keyed JOIN keys ON keys.name = keyed.concurrency_key
), verdict AS MATERIALIZED (
  SELECT (SELECT fit.found FROM fit) AND NOT EXISTS (SELECT FROM keys WHERE NOT keys.fits) AS fits,
    NOT EXISTS (
      SELECT FROM startable s GROUP BY s.execution_backend, s.place
      HAVING count(*) >= $10::bigint AND count(*) FILTER (WHERE s.found) < $7
    ) AS suffices
), in_order AS MATERIALIZED (
  SELECT one.id, one.found, one.is_first,
    count(*) FILTER (WHERE one.found) OVER (ORDER BY one.urgency, one.scheduled_at, one.id) AS number
  FROM (
    SELECT s.urgency, s.scheduled_at, s.id, s.found, s.is_first FROM startable s
    UNION ALL
    SELECT first.urgency, first.scheduled_at, first.id, true, false FROM places CROSS JOIN LATERAL ({first without}
    ) first
  ) one
  WHERE (SELECT verdict.fits AND verdict.suffices FROM verdict)
), due AS MATERIALIZED (
  SELECT r.id FROM lq.records r
  WHERE r.id = ANY(ARRAY(SELECT o.id FROM in_order o WHERE o.found AND o.number <= $7)) AND r.ready
  FOR UPDATE SKIP LOCKED
), {claimed}, answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM worker) AS alive,
    (SELECT exact.found FROM exact) AS exact,
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1) AS waiting,
    {lost},
    (SELECT verdict.fits FROM verdict) AS fits,
    (SELECT verdict.suffices FROM verdict) AS suffices,
    EXISTS (SELECT FROM in_order o WHERE NOT o.found AND o.is_first AND o.number < $7) AS held_back
)
SELECT answer.*, claimed.* FROM answer LEFT JOIN claimed ON true
"""


def _after(settled: str) -> str:
    """Claim after settling like this."""
    keyed, without = "coalesce(r.concurrency_key, '') <> ''", "r.concurrency_key IS NULL"
    claimed = CLAIMED.replace("{chosen}", "SELECT due.id FROM due").replace("now()", "statement_timestamp()")
    assert "SET status" in claimed, "what starts would not be counted"
    assert "s.expected\n" in settled, "what is settled could precede the lock"
    claimed = claimed.replace("SET status", "SET semaphore_key = r.concurrency_key, status")
    return (
        _SETTLE_AND_CLAIM.replace("{first keyed}", _FIRST.replace("{kind}", keyed).replace("{size}", "$10"))
        .replace("{first without}", _FIRST.replace("{kind}", without).replace("{size}", "$7"))
        .replace("{settled first}", settled.replace("s.expected\n", "s.expected AND EXISTS (SELECT FROM locked)\n"))
        .replace("{locked}", _LOCKED)
        .replace("{apart}", APART)
        .replace("{walk}", numbered(WALK))
        .replace("{that goes on}", THAT_GOES_ON)
        .replace("{claimed}", claimed)
    )


SETTLE_AND_CLAIM: Final = _after(SETTLED)
COMPLETE_AND_CLAIM: Final = _after(COMPLETED)
