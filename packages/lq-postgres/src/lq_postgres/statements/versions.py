"""The clock, the wake-up, and the versions of the schema."""

from typing import Final

NOW: Final = "SELECT clock_timestamp()"

NOTIFY: Final = "SELECT pg_notify($1, $2)::text"

# Not to_regclass, which may go on to say no after another process, for which this one has waited, has created it.
SCHEMA_EXISTS: Final = """
SELECT EXISTS (SELECT FROM pg_tables WHERE '"' || schemaname || '".' || tablename = 'lq.migrations')
"""

SCHEMA_VERSION: Final = """
SELECT coalesce(max(number), 0), coalesce(max(runs_beside), 0) FROM lq.migrations
"""

LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lq.migrations', 0))"

# Before and after each migration, also where it is printed for somebody else to run.
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

NOTE_MIGRATION: Final = """
INSERT INTO lq.migrations (number, name, runs_beside) VALUES ({}::integer, '{}', {});
"""
