"""
A pgbouncer in front of a server.

In transaction mode, a session ends with its transaction: no LISTEN, no prepared statements (before 1.21), no ``SET``.
In session mode, it lasts as long as the connection. In both, pgbouncer refuses most settings of a new connection.
"""

import shutil
import signal
import socket
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from typing_extensions import override

from servers.child_process import Leash, give_away
from servers.eventually import wait_until
from servers.postgres import SUPERUSER, PostgresServer, free_port
from servers.server import Server
from servers.system_program import PGBOUNCER

SECONDS_TO_START: Final = 10.0

_SETTINGS: Final = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = {most_clients}
ignore_startup_parameters = extra_float_digits
"""


class PgBouncer(Server):
    """One pgbouncer in front of *server*; use it as a context manager."""

    def __init__(
        self, server: PostgresServer, *, pool_size: int = 5, most_clients: int = 200, mode: str = "transaction"
    ) -> None:
        self.server: Final = server
        self.port: Final = free_port()
        self.directory: Final = Path(tempfile.mkdtemp(prefix="lq-pgbouncer-"))
        self._program: Final = PGBOUNCER.find()
        self._process: Leash | None = None
        settings = _SETTINGS.format(
            host=server.host,
            server_port=server.port,
            user=SUPERUSER,
            port=self.port,
            pool_size=pool_size,
            mode=mode,
            most_clients=most_clients,
        )
        _ = (self.directory / "pgbouncer.ini").write_text(settings)
        give_away(self.directory)

    @property
    def log(self) -> str:
        """The log of pgbouncer so far."""
        return (self.directory / "log").read_text(errors="replace")

    def dsn(self, database: str = "postgres") -> str:
        """Return the address of *database* through this pgbouncer."""
        return self.server.dsn(database, port=self.port)

    @override
    def start(self) -> None:
        """Start pgbouncer, and wait until it accepts connections."""
        process = Leash([self._program, self.directory / "pgbouncer.ini"], log=self.directory / "log")
        self._process = process
        wait_until(
            lambda: _listens(self.port) or not process.is_running(),
            within=SECONDS_TO_START,
            otherwise=lambda: f"pgbouncer did not start within {SECONDS_TO_START:g} seconds; its log:\n{self.log}",
        )
        if not process.is_running():
            raise RuntimeError(f"pgbouncer ended at once; its log:\n{self.log}")

    def stop(self) -> None:
        """End pgbouncer and all its connections."""
        if self._process is not None:
            self._process.end(signal.SIGTERM)
            self._process = None

    @override
    def remove(self) -> None:
        """Stop pgbouncer, if it runs, and delete its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
