"""The clock, the wake-up, and the versions of the schema."""

from typing import Final

NOW: Final = "SELECT clock_timestamp()"

NOTIFY: Final = "SELECT pg_notify($1, $2)::text"

SCHEMA_EXISTS: Final = "SELECT to_regclass('lq.migrations') IS NOT NULL"

SCHEMA_VERSION: Final = """
SELECT coalesce(max(number), 0), coalesce(max(runs_beside), 0) FROM lq.migrations
"""

LOCK_SCHEMA: Final = "SELECT pg_advisory_xact_lock(hashtextextended('lq.migrations', 0))"

CREATE_SCHEMA: Final = """
CREATE SCHEMA IF NOT EXISTS lq;
CREATE TABLE IF NOT EXISTS lq.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    runs_beside integer NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""

NOTE_MIGRATION: Final = """
INSERT INTO lq.migrations (number, name, runs_beside) VALUES ($1, $2, $3)
"""
