"""Reading records, and counting them."""

from typing import Final

GET: Final = """
SELECT {record} FROM lq.records r WHERE r.id = ANY($1::uuid[])
"""

MATCHES: Final = """
  AND ($1::text[] IS NULL OR r.status = ANY($1::text[]))
  AND ($2::text[] IS NULL OR r.queue = ANY($2::text[]))
  AND ($3::text[] IS NULL OR r.task_name = ANY($3::text[]))
  AND ($4::text[] IS NULL OR r.execution_backend = ANY($4::text[]))
  AND ($5::timestamptz IS NULL OR r.created_at > $5)
  AND ($6::timestamptz IS NULL OR r.created_at < $6)
  AND ($7::text IS NULL OR r.key = $7)
  AND ($8::text IS NULL OR r.schedule = $8)
"""

FIND_NEWEST: Final = """
SELECT {record} FROM lq.records r WHERE r.id < $9 {matches} ORDER BY r.id DESC LIMIT $10
"""

FIND_OLDEST: Final = """
SELECT {record} FROM lq.records r WHERE r.id > $9 {matches} ORDER BY r.id LIMIT $10
"""

# The shelved statuses are few, and have an index: what is looked for by status is found without reading the table.
FIND_NEWEST_SHELVED: Final = """
SELECT {record} FROM unnest($1::text[]) AS s(name) CROSS JOIN LATERAL (
  SELECT r.* FROM lq.records r WHERE r.shelf = s.name AND r.id < $9 {matches}
  ORDER BY r.shelf DESC, r.id DESC LIMIT $10
) r
ORDER BY r.id DESC LIMIT $10
"""

FIND_OLDEST_SHELVED: Final = """
SELECT {record} FROM unnest($1::text[]) AS s(name) CROSS JOIN LATERAL (
  SELECT r.* FROM lq.records r WHERE r.shelf = s.name AND r.id > $9 {matches}
  ORDER BY r.shelf, r.id LIMIT $10
) r
ORDER BY r.id LIMIT $10
"""

# A record with a key, or of a schedule, has an index as well.
FIND_NEWEST_BY_KEY: Final = """
SELECT {record} FROM lq.records r WHERE r.key = $7::text AND r.id < $9 {matches}
ORDER BY r.key DESC, r.id DESC LIMIT $10
"""

FIND_OLDEST_BY_KEY: Final = """
SELECT {record} FROM lq.records r WHERE r.key = $7::text AND r.id > $9 {matches}
ORDER BY r.key, r.id LIMIT $10
"""

FIND_NEWEST_BY_SCHEDULE: Final = """
SELECT {record} FROM lq.records r WHERE r.schedule = $8::text AND r.id < $9 {matches}
ORDER BY r.schedule DESC, r.id DESC LIMIT $10
"""

FIND_OLDEST_BY_SCHEDULE: Final = """
SELECT {record} FROM lq.records r WHERE r.schedule = $8::text AND r.id > $9 {matches}
ORDER BY r.schedule, r.id LIMIT $10
"""

COUNT: Final = """
SELECT count(*) FROM lq.records r WHERE true {matches}
"""

STATISTICS: Final = """
SELECT r.queue, r.status, count(*),
  min(r.scheduled_at) FILTER (
    WHERE r.ready IS NOT NULL AND r.scheduled_at <= coalesce($1::timestamptz, now())
      AND (r.expires_at IS NULL OR r.expires_at > coalesce($1::timestamptz, now()))
  )
FROM lq.records r GROUP BY r.queue, r.status
"""

# What a transaction of the application holds is left for another look: it would hold up the others.
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

# What has not ended is looked up by its id; a record that is there no more is not waited for. The ids are picked out of
# the text: one that is damaged does not hold up the others.
FREED: Final = """
WITH free AS MATERIALIZED (
  SELECT r.id FROM lq.records r
  WHERE r.blocked AND NOT EXISTS (
    SELECT FROM regexp_matches(r.after, '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}', 'g') AS a(id)
    JOIN lq.records p ON p.id = a.id[1]::uuid
    WHERE p.finished_at IS NULL
  )
  ORDER BY r.id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
SELECT EXISTS (SELECT FROM lq.records r WHERE r.blocked AND r.id NOT IN (SELECT free.id FROM free)), {record}
FROM (VALUES (1)) AS one(row) LEFT JOIN lq.records r ON r.id IN (SELECT free.id FROM free)
ORDER BY r.id
"""

# What has ended is asked to stop no more. Saying so lets a plan expect few: without statistics, which a young table
# does not have, it would expect half of all records, and read the whole table every second.
CANCEL_REQUESTS: Final = """
SELECT {record} FROM lq.records r
WHERE r.cancel_requested AND r.status IN ('pending', 'dispatched', 'running')
ORDER BY r.id
"""
