"""
Settling, and claiming where nothing is to be chosen: all due records are in one partition, and nothing limits them.

Such a claim is the most frequent one, and takes a third of the planning of ``claiming.SETTLE_AND_CLAIM``. This counts
where a pooler lets PostgreSQL plan every statement anew.
"""

from typing import Final

from lq_postgres.statements.claiming import CLAIMED, FIRST, FROM, MARKS, TOOK

# The parameters, the answer and the lock on the worker are those of `claiming.SETTLE_AND_CLAIM`.
# If keys, limits or paused queues may matter, or if more than one partition has records, this claims nothing and
# answers that it was `limited`. It has then locked what it has read, for nothing and until its end.
_SETTLE_AND_CLAIM: Final = """{settled}, worker AS MATERIALIZED (
  SELECT w.id FROM lq.workers w WHERE w.id = $4 AND w.alive FOR KEY SHARE
), limited AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM lq.records r WHERE r.ready AND r.concurrency_key IS NOT NULL) OR EXISTS (
    SELECT FROM lq.queues q
    WHERE CASE WHEN q.paused THEN $6::text[] IS NULL AND q.name <> 'default'
      ELSE (q.limits IS NOT NULL OR q.draining IS NOT NULL) AND ($6::text[] IS NULL OR q.name = ANY($6::text[])) END
  ) AS found
), due AS MATERIALIZED (
  SELECT part.place, c.id FROM (
    SELECT b.name || ' ' || coalesce(q.name, '') AS place, b.name AS execution_backend, q.name AS queue,
    {from}
    FROM unnest($5::text[]) AS b(name) CROSS JOIN unnest(coalesce($6::text[], ARRAY['default', NULL])) AS q(name)
    LEFT JOIN {marks}
      ON mark.execution_backend = b.name AND mark.queue IS NOT DISTINCT FROM q.name
    WHERE EXISTS (SELECT FROM worker) AND NOT (SELECT limited.found FROM limited)
      AND NOT EXISTS (SELECT FROM lq.queues p WHERE p.paused AND p.name = q.name)
  ) part CROSS JOIN LATERAL ({locked}
  ) c
), spread AS MATERIALIZED (
  SELECT (SELECT limited.found FROM limited) OR min(due.place) IS DISTINCT FROM max(due.place) AS found FROM due
), {claimed}, answer AS MATERIALIZED (
  SELECT EXISTS (SELECT FROM worker) AS alive,
    (SELECT r.scheduled_at FROM lq.records r WHERE NOT r.ready ORDER BY r.scheduled_at LIMIT 1) AS waiting,
    (SELECT spread.found FROM spread) AS limited,
    false AS walked,
    {took},
    {lost},
    (SELECT pg_notify($2, '-' || count(*) || ' ' || $3)::text FROM due
     WHERE $2::text IS NOT NULL AND $3 LIKE '%!' AND NOT (SELECT spread.found FROM spread)
     HAVING count(*) > 0 OR $2::text IS NOT NULL AND $3 LIKE '%!!' AND NOT (SELECT spread.found FROM spread))
      AS announced
)
SELECT answer.*, claimed.* FROM answer LEFT JOIN claimed ON true
"""

SETTLE_AND_CLAIM: Final = (
    _SETTLE_AND_CLAIM.replace("{locked}", FIRST.replace("{size}", "$7").replace("{lock}", "FOR UPDATE SKIP LOCKED"))
    .replace(" AND r.queue <> ALL (part.closed)", "")
    .replace("{from}", FROM)
    .replace("{marks}", MARKS)
    .replace("{took}", TOOK)
    .replace(
        "{claimed}", CLAIMED.replace("{chosen}", "SELECT due.id FROM due WHERE NOT (SELECT spread.found FROM spread)")
    )
)
COMPLETE_AND_CLAIM: Final = SETTLE_AND_CLAIM.replace("{settled}", "{completed}")
