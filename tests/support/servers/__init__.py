"""
Real servers for tests: PostgreSQL, pgbouncer, and a proxy that fails like a network.

Each server runs an installed program, listens on 127.0.0.1 at a free port, keeps its files in one temporary
directory, and ends with the process that started it.
"""

from servers.installation import PostgresInstallation, find_installation, known_versions
from servers.pgbouncer import PgBouncer
from servers.postgres import PostgresServer
from servers.proxy import TcpProxy
from servers.system_program import CHROMIUM

__all__ = [
    "CHROMIUM",
    "PgBouncer",
    "PostgresInstallation",
    "PostgresServer",
    "TcpProxy",
    "find_installation",
    "known_versions",
]
