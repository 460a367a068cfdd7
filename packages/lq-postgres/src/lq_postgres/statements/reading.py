"""Reading records, and counting them."""

from collections.abc import Sequence
from typing import Final

BLOCKED_PAGE: Final = 1000
"""How many blocked records one look reads, from the next ones on and of the newest."""

GET: Final = "SELECT {record} FROM lq.records r WHERE r.id = ANY($1::uuid[])"

MATCHES: Final = """
  AND ($1::text[] IS NULL OR r.status = ANY($1::text[]))
  AND ($2::text[] IS NULL OR r.queue = ANY($2::text[]))
  AND ($3::text[] IS NULL OR r.task_name = ANY($3::text[]))
  AND ($4::text[] IS NULL OR r.execution_backend = ANY($4::text[]))
  AND ($5::timestamptz IS NULL OR r.created_at > $5)
  AND ($6::timestamptz IS NULL OR r.created_at < $6)
  AND ($7::text IS NULL OR r.key = $7)
  AND ($8::text IS NULL OR r.schedule = $8)
  AND (NOT $9::boolean OR r.status = 'dispatched' OR r.execution_ref IS NOT NULL)
"""

# Rare conditions, which are added to a statement that needs them; {} is the number of the parameter.
FINISHED_AFTER: Final = " AND r.finished_at > ${}::timestamptz"
FINISHED_BEFORE: Final = " AND r.finished_at < ${}::timestamptz"
# One value, not an array of one, so that it ends the walk through the index of ids.
NEWEST: Final = """
  AND r.id > coalesce(
    (SELECT n.id FROM lq.records n ORDER BY n.id DESC LIMIT 1 OFFSET ${}::bigint),
    '00000000-0000-0000-0000-000000000000'::uuid
  )
"""


def words_in(columns: Sequence[str]) -> str:
    """Write the condition that one of some fragments occurs in one of these columns."""
    occurs = " OR ".join(f"strpos(r.{column}, w.fragment) > 0" for column in columns)
    return " AND EXISTS (SELECT FROM unnest(${}::text[]) AS w(fragment) WHERE " + occurs + ")"


# $10 bound, $11 limit.
FIND: Final = "SELECT {record} FROM lq.records r WHERE r.id < $10 {matches} ORDER BY r.id DESC LIMIT $11"

# These statuses, the keys and the schedules have an index each, so their statements do not read the whole table.
FIND_BY_STATUS: Final = """
SELECT {record} FROM unnest($1::text[]) AS s(name) CROSS JOIN LATERAL (
  SELECT r.* FROM lq.records r WHERE r.indexed_status = s.name AND r.id < $10 {matches}
  ORDER BY r.indexed_status DESC, r.id DESC LIMIT $11
) r
ORDER BY r.id DESC LIMIT $11
"""

# As FIND_BY_STATUS, for a queue or a task that few of the records may have: the index has their names.
FIND_BY_STATUS_AND_NAME: Final = """
SELECT {record} FROM unnest($1::text[]) AS s(name) CROSS JOIN LATERAL (
  SELECT r.* FROM (
    SELECT r.id FROM lq.records r
    WHERE r.indexed_status = s.name AND r.id < $10
      AND ($2::text[] IS NULL OR r.queue = ANY($2::text[])) AND ($3::text[] IS NULL OR r.task_name = ANY($3::text[]))
    ORDER BY r.indexed_status DESC, r.id DESC OFFSET 0
  ) n CROSS JOIN LATERAL (SELECT r.* FROM lq.records r WHERE r.id = n.id {matches} OFFSET 0) r
  ORDER BY n.id DESC LIMIT $11
) r
ORDER BY r.id DESC LIMIT $11
"""

# Pending records: all from their indexes, unless so many wait that a short walk finds some. Their ids are sorted before
# they are read, so that only those on the page are.
_FIND_PENDING: Final = """
WITH few AS MATERIALIZED (
  SELECT r.id FROM ({waiting}) r LIMIT 1001
), near AS MATERIALIZED (
  SELECT r.* FROM (
    SELECT r.* FROM lq.records r
    WHERE (SELECT count(*) FROM few) = 1001 AND r.id < $10
    ORDER BY r.id DESC LIMIT least(20000, 200 * $11::bigint)
  ) r
  WHERE true {matches}
  ORDER BY r.id DESC LIMIT $11
)
SELECT * FROM (
  SELECT {record} FROM near r WHERE (SELECT count(*) FROM near) = $11
  UNION ALL
  (SELECT {record} FROM (
     SELECT r.id FROM (
       SELECT few.id FROM few WHERE (SELECT count(*) FROM few) < 1001
       UNION ALL
       SELECT r.id FROM ({all waiting}) r
       WHERE (SELECT count(*) FROM few) = 1001 AND (SELECT count(*) FROM near) < $11
     ) r
     WHERE r.id < $10
     ORDER BY r.id DESC OFFSET 0
   ) w CROSS JOIN LATERAL (SELECT r.* FROM lq.records r WHERE r.id = w.id {matches} OFFSET 0) r
   ORDER BY w.id DESC LIMIT $11)
) r
ORDER BY r.id DESC
"""

# The orders select the indexes: PostgreSQL expects far more records that are NOT ready than there are.
_WAITING: Final = """
    (SELECT r.id FROM lq.records r WHERE r.ready AND r.concurrency_key IS NULL {conditions}
     ORDER BY r.execution_backend, r.queue)
    UNION ALL
    (SELECT r.id FROM lq.records r WHERE r.ready AND r.concurrency_key IS NOT NULL {conditions}
     ORDER BY r.execution_backend, r.queue)
    UNION ALL
    (SELECT r.id FROM lq.records r WHERE NOT r.ready {conditions} ORDER BY r.scheduled_at)
    UNION ALL
    SELECT r.id FROM lq.records r WHERE r.blocked {conditions}
    UNION ALL
    SELECT r.id FROM lq.records r WHERE r.cancel_requested AND r.status = 'pending' AND NOT r.blocked {conditions}
"""

# The indexes have these two names, so that no record is read for them.
_BY_PLACE: Final = _WAITING.replace(
    "{conditions}",
    "AND ($2::text[] IS NULL OR r.queue = ANY($2)) AND ($4::text[] IS NULL OR r.execution_backend = ANY($4))",
)

FIND_PENDING: Final = _FIND_PENDING.replace("{waiting}", _BY_PLACE).replace("{all waiting}", _BY_PLACE)

# As FIND_PENDING, with other conditions, which few of very many pending records may meet.
FIND_PENDING_WITH: Final = _FIND_PENDING.replace("{waiting}", _BY_PLACE).replace(
    "{all waiting}", _WAITING.replace("{conditions}", "{matches}")
)

FIND_BY_KEY: Final = """
SELECT {record} FROM lq.records r WHERE r.key = $7::text AND r.id < $10 {matches}
ORDER BY r.key DESC, r.id DESC LIMIT $11
"""

FIND_BY_SCHEDULE: Final = """
SELECT {record} FROM lq.records r WHERE r.schedule = $8::text AND r.id < $10 {matches}
ORDER BY r.schedule DESC, r.id DESC LIMIT $11
"""


def oldest_first(find: str) -> str:
    """Turn the order of a statement round: the pages begin after the id $10."""
    return find.replace("r.id < $10", "r.id > $10").replace(" DESC", "")


COUNT: Final = "SELECT count(*) FROM lq.records r WHERE true {matches}"

# The turn of a record may be earlier than the record.
STATISTICS: Final = """
SELECT r.queue, r.status, count(*), count(d.moment), min(d.moment)
FROM lq.records r
CROSS JOIN LATERAL (
  SELECT CASE
    WHEN r.ready IS NOT NULL AND r.scheduled_at <= coalesce($1::timestamptz, now())
      AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
    THEN greatest(r.scheduled_at, CASE WHEN strpos(r.metadata, '.fairness_key":') > 0 THEN r.created_at END)
  END AS moment
) d
GROUP BY r.queue, r.status
"""

# A transaction of the application may hold a record. It is skipped, so that the others do not wait.
OVERDUE: Final = """
WITH blocked AS (
  SELECT {record} FROM lq.records r
  WHERE r.blocked AND r.expires_at <= coalesce($1::timestamptz, now())
  ORDER BY r.id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), waiting AS (
  SELECT {record} FROM lq.records r
  WHERE r.ready IS NOT NULL AND r.expires_at IS NOT NULL AND r.expires_at <= coalesce($1::timestamptz, now())
  ORDER BY r.expires_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), stopping AS (
  SELECT {record} FROM lq.records r
  WHERE r.cancel_requested AND r.status = 'pending' AND r.expires_at <= coalesce($1::timestamptz, now())
  ORDER BY r.id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
)
SELECT * FROM blocked UNION ALL SELECT * FROM waiting UNION ALL SELECT * FROM stopping LIMIT $2
"""

# A predecessor that has ended or been deleted does not block. The statement extracts the ids from the text, so that a
# damaged text does not affect other records. If very many records are blocked, one look does not read them all: it
# reads the newest ones, whose predecessors may have ended before they were stored, and the next ones after $2.
UNBLOCKED: Final = """
WITH page AS MATERIALIZED (
  SELECT * FROM (
    SELECT r.id, r.after, true AS is_next FROM lq.records r WHERE r.blocked AND r.id > $2 ORDER BY r.id LIMIT {size}
  ) next
  UNION ALL
  SELECT * FROM (
    SELECT r.id, r.after, false FROM lq.records r WHERE r.blocked ORDER BY r.id DESC LIMIT {size}
  ) newest
), free AS MATERIALIZED (
  SELECT r.id FROM lq.records r
  WHERE r.blocked AND r.id = ANY(ARRAY(
    SELECT DISTINCT page.id FROM page WHERE NOT EXISTS (
      SELECT FROM regexp_matches(page.after, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') AS a(id)
      JOIN lq.records p ON p.id = a.id[1]::uuid
      WHERE p.finished_at IS NULL
    )
    ORDER BY page.id LIMIT $1
  ))
  ORDER BY r.id FOR NO KEY UPDATE SKIP LOCKED
)
SELECT EXISTS (SELECT FROM lq.records r WHERE r.blocked AND r.id NOT IN (SELECT free.id FROM free)),
  (SELECT page.id FROM page WHERE page.is_next ORDER BY page.id OFFSET {size} - 1 LIMIT 1), {record}
FROM (VALUES (1)) AS one(row) LEFT JOIN lq.records r ON r.id IN (SELECT free.id FROM free)
ORDER BY r.id
""".replace("{size}", str(BLOCKED_PAGE))

# As UNBLOCKED, for the records after $1 alone.
UNBLOCKED_BY: Final = """
WITH successors AS MATERIALIZED (
  SELECT r.id, r.after FROM lq.records r
  WHERE r.blocked AND regexp_split_to_array(r.after, '[^0-9a-f-]+') && $1::text[]
)
SELECT {record} FROM lq.records r
WHERE r.blocked AND r.id = ANY(ARRAY(
  SELECT s.id FROM successors s
  WHERE NOT EXISTS (
    SELECT FROM regexp_matches(s.after, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') AS a(id)
    JOIN lq.records p ON p.id = a.id[1]::uuid
    WHERE p.finished_at IS NULL
  )
  ORDER BY s.id LIMIT $2
))
ORDER BY r.id
FOR NO KEY UPDATE SKIP LOCKED
"""

# Those that still wait for it or for others; an index of the others would be written at each claim of one.
SUCCESSORS: Final = """
WITH successors AS MATERIALIZED (
  SELECT r.id FROM lq.records r WHERE r.blocked AND regexp_split_to_array(r.after, '[^0-9a-f-]+') && $1::text[]
)
SELECT {record} FROM lq.records r
WHERE r.id = ANY(ARRAY(SELECT s.id FROM successors s ORDER BY s.id LIMIT $2))
ORDER BY r.id
"""

# Only records that have not ended can have a request. The condition on the status says so to the planner, which would
# otherwise expect half of a table without statistics, and read all of it every second.
CANCEL_REQUESTS: Final = """
SELECT {record} FROM lq.records r
WHERE r.cancel_requested AND r.status IN ('pending', 'dispatched', 'running')
ORDER BY r.id
"""
