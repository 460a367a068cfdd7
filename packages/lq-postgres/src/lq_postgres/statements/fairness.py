"""
The turns of records with fairness keys.

A fairness key is read from the text of the metadata, as JSON with its quotes. The indexes have the same expressions.
"""

from typing import Final

HAS_FAIRNESS_KEY: Final = "strpos(r.metadata, '.fairness_key\":') > 0"
FAIRNESS_KEY: Final = """substring(r.metadata FROM '"lq[.]fairness_key":("([^"\\\\]|\\\\.)*")')"""

_TENANT: Final = """r.ready AND {has_fairness_key} AND r.execution_backend = {tenant}.execution_backend
      AND r.queue = {tenant}.queue AND r.priority = {tenant}.priority"""

# The last turn of each fairness key, and the turns after it: at most as many as asked for. Without a last turn, these
# are the first turns of all keys of the same execution backend, queue and priority.
# $1 to $6 the tenants: number, execution backend, queue, priority, fairness key, how many turns.
TURNS: Final = """
WITH RECURSIVE tenants AS MATERIALIZED (
  SELECT l.*, (
    SELECT r.scheduled_at FROM lq.records r WHERE {of l} AND {fairness_key} = l.key ORDER BY r.scheduled_at DESC LIMIT 1
  ) AS last
  FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::integer[])
    AS l(number, execution_backend, queue, priority, key, size)
), ahead AS (
  SELECT tenants.*, 0 AS place, coalesce(tenants.last, '-infinity') AS turn FROM tenants
  UNION ALL
  SELECT ahead.number, ahead.execution_backend, ahead.queue, ahead.priority, ahead.key, ahead.size, ahead.last,
    ahead.place + 1, next.scheduled_at
  FROM ahead CROSS JOIN LATERAL (
    SELECT r.scheduled_at FROM lq.records r
    WHERE {of ahead} AND r.scheduled_at > ahead.turn AND r.scheduled_at > '-infinity'
    ORDER BY r.scheduled_at LIMIT 1
  ) next
  WHERE ahead.place < ahead.size
)
SELECT number, last, CASE WHEN place > 0 THEN turn END FROM ahead ORDER BY number, place
""".replace("{of l}", _TENANT.replace("{tenant}", "l")).replace("{of ahead}", _TENANT.replace("{tenant}", "ahead"))

# The condition on `ready` is none of an index, which would make the plan quadratic.
GIVE_TURNS: Final = """
UPDATE lq.records r SET ready = true, scheduled_at = s.turn
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS s(id, due, turn)
WHERE r.id = s.id AND r.scheduled_at = s.due AND NOT coalesce(r.ready, true)
RETURNING r.id
"""
