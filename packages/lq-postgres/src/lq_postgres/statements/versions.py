"""The clock, the wake-up, and the versions of the schema."""

from typing import Final

NOW: Final = "SELECT clock_timestamp()"

IS_READ_ONLY: Final = "SELECT current_setting('transaction_read_only') = 'on'"

NOTIFY: Final = "SELECT pg_notify($1, $2)::text WHERE $1::text IS NOT NULL"

# to_regclass could still answer no after this process has waited for another one to create the table.
SCHEMA_EXISTS: Final = """
SELECT EXISTS (SELECT FROM pg_tables WHERE '"' || schemaname || '".' || tablename = 'lq.migrations'),
  current_setting('server_encoding'), current_database()
"""

SCHEMA_VERSION: Final = "SELECT coalesce(max(number), 0), coalesce(max(runs_beside), 0) FROM lq.migrations"

LOCK_SCHEMA: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended('lq.migrations', 0)), pg_backend_pid()"

# An advisory lock has its key in two halves. Without pg_read_all_stats, most columns of other roles are null.
WHO_MIGRATES: Final = """
SELECT 'migrations', a.pid, a.usename::text, a.application_name, a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::double precision
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('lq.migrations', 0)
"""

WHO_BLOCKS: Final = """
SELECT w.relation::regclass::text, a.pid, a.usename::text, a.application_name, a.state,
  extract(epoch FROM clock_timestamp() - a.xact_start)::double precision
FROM pg_locks w CROSS JOIN unnest(pg_blocking_pids(w.pid)) AS b (pid) JOIN pg_stat_activity a ON a.pid = b.pid
WHERE w.pid = $1 AND NOT w.granted
ORDER BY a.xact_start LIMIT 1
"""

HOW_FAR: Final = """
SELECT index_relid::regclass::text, phase, 100.0 * blocks_done / nullif(blocks_total, 0)
FROM pg_stat_progress_create_index WHERE pid = $1
"""

# These surround each migration, also in the output of `lq migrate --sql`.
CREATE_SCHEMA: Final = """
DO $$ BEGIN
  IF to_regnamespace('lq') IS NULL THEN CREATE SCHEMA lq; END IF;
END $$;
CREATE TABLE IF NOT EXISTS lq.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    runs_beside integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

NOTE_MIGRATION: Final = "INSERT INTO lq.migrations (number, name, runs_beside) VALUES ({}::integer, '{}', {});"
