"""
The turns of records with fairness keys.

A fairness key is read from the text of the metadata, as JSON with its quotes. The indexes have the same expressions.
"""

from typing import Final

HAS_FAIRNESS_KEY: Final = "strpos(r.metadata, '.fairness_key\":') > 0"
FAIRNESS_KEY: Final = """substring(r.metadata FROM '"lq[.]fairness_key":("([^"\\\\]|\\\\.)*")')"""

_LINE: Final = """r.ready AND {has_fairness_key} AND r.execution_backend = {line}.execution_backend
      AND r.queue = {line}.queue AND r.priority = {line}.priority"""

# The last turn of each fairness key, and the turns after it: at most as many as asked for. Without a last turn, these
# are the first turns of the line.
# $1 to $6 the lines: number, execution backend, queue, priority, fairness key, how many turns.
TURNS: Final = """
WITH RECURSIVE lines AS MATERIALIZED (
  SELECT l.*, (
    SELECT r.scheduled_at FROM lq.records r WHERE {of l} AND {fairness_key} = l.key ORDER BY r.scheduled_at DESC LIMIT 1
  ) AS last
  FROM unnest($1::integer[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::integer[])
    AS l(number, execution_backend, queue, priority, key, size)
), ahead AS (
  SELECT lines.*, 0 AS place, coalesce(lines.last, '-infinity') AS turn FROM lines
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
""".replace("{of l}", _LINE.replace("{line}", "l")).replace("{of ahead}", _LINE.replace("{line}", "ahead"))

# The condition on `ready` is none of an index, which would make the plan quadratic.
GIVE_TURNS: Final = """
UPDATE lq.records r SET ready = true, scheduled_at = s.turn
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS s(id, due, turn)
WHERE r.id = s.id AND r.scheduled_at = s.due AND NOT coalesce(r.ready, true)
RETURNING r.id
"""
