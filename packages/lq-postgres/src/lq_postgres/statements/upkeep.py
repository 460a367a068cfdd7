"""Workers, queues, schedules, changes of records beside claims and settlements, and the checks of ``lq doctor``."""

from typing import Final

# Two equal snapshots see the same rows.
VERSION: Final = "SELECT pg_current_snapshot()::text"

REQUEST_CANCEL: Final = """
UPDATE lq.records
SET cancel_requested = true, key_released = key_released OR key_until IS NULL,
    held_key = CASE WHEN key_until IS NOT NULL THEN held_key END
WHERE id = $1 AND epoch = $2 AND status IN ('dispatched', 'running')
RETURNING id
"""

# Ids are in the order of creation: $4 ends the walk at records that are too young, and it begins after $6.
DELETE_ENDED: Final = """
DELETE FROM lq.records
WHERE id = ANY(ARRAY(
  SELECT r.id FROM lq.records r WHERE r.status = $1 AND r.finished_at < $2 AND r.id < $4 AND r.id > $6
    AND (r.held_key IS NULL OR r.key_until <= coalesce($5::timestamptz, now()))
  ORDER BY r.id LIMIT $3
  FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

DELETE_MANY: Final = """
DELETE FROM lq.records
WHERE id = ANY(ARRAY(
  SELECT r.id FROM lq.records r
  WHERE r.id = ANY($1::uuid[]) AND r.status IN ('completed', 'failed', 'cancelled', 'expired')
    AND (r.held_key IS NULL OR r.key_until <= coalesce($2::timestamptz, now()))
  FOR UPDATE SKIP LOCKED
))
RETURNING id
"""

REGISTER: Final = """
INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, queues, execution_backends)
VALUES ($1, true, $2, coalesce($3::timestamptz, clock_timestamp()), $4, $5, $6)
ON CONFLICT (id) DO UPDATE
SET alive = true, started_at = excluded.started_at, seen_at = excluded.seen_at,
    concurrency = excluded.concurrency, queues = excluded.queues, execution_backends = excluded.execution_backends
"""

# Orphans are found through the rows of dead workers, so each worker of a running record needs a row.
KNOW: Final = """
INSERT INTO lq.workers (id, alive, started_at, seen_at, concurrency, execution_backends)
SELECT DISTINCT t.id, false, now(), now(), 0, '{}'::text[] FROM unnest($1::text[]) AS t(id)
ON CONFLICT (id) DO NOTHING
"""

# The statement may wait for a lock, while now() stands still: the moment of a heartbeat is that of its write.
# The answer is also the place of the worker among those that take the same records, and how many these are.
BEAT: Final = """
WITH beating AS (
  UPDATE lq.workers SET seen_at = coalesce($2::timestamptz, clock_timestamp()) WHERE id = $1 AND alive
  RETURNING clock_timestamp() AS at, id, queues, execution_backends
)
SELECT b.at, count(*) FILTER (WHERE w.id < b.id), count(*)
FROM beating b LEFT JOIN lq.workers w
  ON w.alive AND w.concurrency > 0 AND w.queues IS NOT DISTINCT FROM b.queues
    AND w.execution_backends = b.execution_backends
GROUP BY b.at
"""

RETIRE: Final = "UPDATE lq.workers SET alive = false WHERE id = $1"

WORKERS: Final = """
SELECT id, queues, execution_backends, concurrency, started_at, seen_at FROM lq.workers WHERE alive ORDER BY started_at
"""

# A heartbeat in the future is older than a change of the clock: it must not keep a dead worker alive.
# The time for which this statement waits for a lock does not count as silence, so that is measured by now().
DECLARE_DEAD: Final = """
UPDATE lq.workers
SET
  alive = seen_at > coalesce($1::timestamptz, now()),
  seen_at = least(seen_at, coalesce($1::timestamptz, clock_timestamp()))
WHERE alive AND (
  seen_at <= coalesce($1::timestamptz, now()) - make_interval(secs => $2)
  OR seen_at > coalesce($1::timestamptz, clock_timestamp())
)
"""

DEAD: Final = "SELECT id FROM lq.workers WHERE NOT alive"

# A worker may have no row if it was deleted just before the record was stored.
# Records that an open transaction holds are skipped, because a swap would wait for the transaction.
ORPHANS: Final = """
SELECT {record} FROM lq.records r
WHERE r.status = 'running' AND r.id > $2
  AND (r.worker_id = ANY($1::text[]) OR r.worker_id NOT IN (SELECT w.id FROM lq.workers w))
ORDER BY r.id LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED
"""

# This has no index, because each claim would pay for it. It runs only after an uncertain claim.
OWNED: Final = "SELECT {record} FROM lq.records r WHERE r.worker_id = $1 AND r.status = 'running'"

# Two statements in one transaction: the second sees the claims that held a row against the first.
HOLD_DEAD: Final = "SELECT id FROM lq.workers WHERE NOT alive AND id = ANY($1::text[]) FOR UPDATE SKIP LOCKED"

FORGET: Final = """
DELETE FROM lq.workers
WHERE id = ANY($1::text[]) AND id NOT IN (
  SELECT r.worker_id FROM lq.records r WHERE r.status = 'running' AND r.worker_id = ANY($1::text[])
)
"""

# $1 name, $2 to $4 new state, $5 to $7 old state, $8 whether the old state is the default, $9 and $10 wake-up.
SWAP_QUEUE: Final = """
WITH kept AS (
  INSERT INTO lq.queues AS q (name, paused, limits, draining)
  SELECT $1, $2, $3, $4 WHERE $8::boolean OR EXISTS (SELECT FROM lq.queues WHERE name = $1)
  ON CONFLICT (name) DO UPDATE
  SET paused = excluded.paused, limits = excluded.limits, draining = excluded.draining
  WHERE ROW(q.paused, q.limits, q.draining)
    IS NOT DISTINCT FROM ROW($5::boolean, $6::text, $7::timestamptz)
  RETURNING q.name
)
SELECT CASE WHEN $9::text IS NOT NULL THEN pg_notify($9, $10)::text END FROM kept
"""

QUEUES: Final = "SELECT name, paused, limits, draining FROM lq.queues"

SCHEDULES: Final = "SELECT body FROM lq.schedules ORDER BY name"

SCHEDULE: Final = "SELECT body FROM lq.schedules WHERE name = $1"

ADD_SCHEDULE: Final = """
INSERT INTO lq.schedules (name, version, body) VALUES ($1, $2, $3)
ON CONFLICT (name) DO NOTHING
RETURNING name
"""

CHANGE_SCHEDULE: Final = """
UPDATE lq.schedules SET version = $2, body = $3
WHERE name = $1 AND version = $2 - 1
RETURNING name
"""

# A transaction with a snapshot or a write keeps all old versions of rows, and claims must pass over them.
OLDEST_TRANSACTION: Final = """
SELECT extract(epoch FROM now() - xact_start)::double precision, pid, application_name, state
FROM pg_stat_activity
WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND pid <> pg_backend_pid() AND datname = current_database()
ORDER BY xact_start LIMIT 1
"""

DEAD_ROWS: Final = """
SELECT n_dead_tup, n_live_tup, last_autovacuum::text FROM pg_stat_all_tables WHERE relid = 'lq.records'::regclass
"""

INDEXES: Final = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = 'lq.records'::regclass AND i.indisvalid
"""

# The process whose transaction has been open for longest: if it listens, it keeps the notifications.
NOTIFICATION_QUEUE: Final = """
SELECT pg_notification_queue_usage(), (
  SELECT pid FROM pg_stat_activity
  WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  ORDER BY xact_start LIMIT 1
)
"""

CONNECTIONS: Final = """
SELECT count(*),
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
FROM pg_stat_activity WHERE backend_type = 'client backend'
"""

# The settings of the role and of the database, beside those that are in effect where lq runs its statements.
SETTINGS: Final = """
SELECT g.whose, g.name, g.value, s.setting
FROM (
  SELECT split_part(entry, '=', 1) AS name, substr(entry, strpos(entry, '=') + 1) AS value,
    CASE
      WHEN d.setrole = 0 AND d.setdatabase = 0 THEN 'ROLE ALL'
      WHEN d.setrole = 0 THEN format('DATABASE %I', current_database())
      WHEN d.setdatabase = 0 THEN format('ROLE %I', session_user)
      ELSE format('ROLE %I IN DATABASE %I', session_user, current_database())
    END AS whose
  FROM pg_db_role_setting d CROSS JOIN unnest(d.setconfig) AS entry
  WHERE d.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
    AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
) AS g JOIN pg_settings s ON s.name = g.name
WHERE g.name = ANY($1::text[])
ORDER BY g.whose, g.name
"""

# Every process adds rows in the same order, so that none waits for another in a circle.
ADD_ROLLUPS: Final = """
INSERT INTO lq.rollups AS r (minute, queue, numbers)
SELECT s.minute, s.queue, s.numbers::bigint[]
FROM unnest($1::timestamptz[], $2::text[], $3::text[]) AS s(minute, queue, numbers)
ORDER BY s.minute, s.queue
ON CONFLICT (minute, queue) DO UPDATE
SET numbers = ARRAY(SELECT n.old + n.new FROM unnest(r.numbers, excluded.numbers) AS n(old, new))
"""

DELETE_ROLLUPS: Final = "DELETE FROM lq.rollups WHERE minute < $1"

ROLLUPS: Final = "SELECT minute, numbers FROM lq.rollups WHERE queue = $1 AND minute >= $2 ORDER BY minute"

ADD_ACTION: Final = """
WITH old AS (DELETE FROM lq.actions WHERE at < $5)
INSERT INTO lq.actions (at, actor, action, subject) VALUES ($1, $2, $3, $4)
"""

ACTIONS: Final = "SELECT at, actor, action, subject FROM lq.actions ORDER BY at DESC LIMIT $1"
