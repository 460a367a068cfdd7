"""
Real servers for tests: PostgreSQL, pgbouncer, and a network between that can be cut.

Everything here is started from the machine's own programs, listens on 127.0.0.1 at a free
port, keeps its files in one temporary directory, and ends with the process that started it.
"""

from servers.installation import PostgresInstallation, find_installation, known_versions
from servers.pgbouncer import PgBouncer, install_pgbouncer
from servers.postgres import PostgresServer
from servers.proxy import TcpProxy

__all__ = [
    "PgBouncer",
    "PostgresInstallation",
    "PostgresServer",
    "TcpProxy",
    "find_installation",
    "install_pgbouncer",
    "known_versions",
]
