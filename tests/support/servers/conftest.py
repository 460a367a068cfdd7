"""The fixtures of this directory, for its own tests."""

from servers.fixtures import database, own_postgres_server, pgbouncer, postgres_server

__all__ = ["database", "own_postgres_server", "pgbouncer", "postgres_server"]
