"""
A pgbouncer in transaction mode in front of a server, as many people's databases have it.

Sessions do not survive a transaction there: no LISTEN, no prepared statements (before 1.21),
no ``SET``.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from servers.leash import Leash, give_away
from servers.patience import wait_until
from servers.postgres import SUPERUSER, PostgresServer, free_port

SECONDS_TO_START: Final = 10.0
ADVICE: Final = "pgbouncer is not on this machine. Install it with: sudo apt-get install pgbouncer"

_SETTINGS: Final = """
[databases]
* = host={host} port={server_port} user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
ignore_startup_parameters = extra_float_digits
"""


class PgBouncer:
    """One pgbouncer in front of *server*; use it as a context manager."""

    def __init__(self, server: PostgresServer, *, pool_size: int = 5) -> None:
        self.server: Final = server
        self.port: Final = free_port()
        self.directory: Final = Path(tempfile.mkdtemp(prefix="lq-pgbouncer-"))
        self._program: Final = find_pgbouncer()
        self._process: Leash | None = None
        settings = _SETTINGS.format(
            host=server.host, server_port=server.port, user=SUPERUSER, port=self.port, pool_size=pool_size
        )
        _ = (self.directory / "pgbouncer.ini").write_text(settings)
        give_away(self.directory)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def log(self) -> str:
        """What pgbouncer has written to its log so far."""
        return (self.directory / "log").read_text(errors="replace")

    def dsn(self, database: str = "postgres") -> str:
        """The address of *database* through this pgbouncer."""
        return self.server.dsn(database, port=self.port)

    def start(self) -> None:
        """Start pgbouncer, and wait until it takes connections."""
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

    def remove(self) -> None:
        """Stop pgbouncer, if it runs, and delete its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def find_pgbouncer() -> Path:
    """
    The pgbouncer program.

    Raises:
        LookupError: it is not here; the message says how to install it.
    """
    found = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    if found is None:
        raise LookupError(ADVICE)
    return Path(found)


def install_pgbouncer() -> None:
    """
    Install Debian's pgbouncer when it is missing; for the test command to call.

    Raises:
        LookupError: it is missing, and we are not root, have no apt-get, or it fails.
    """
    try:
        _ = find_pgbouncer()
    except LookupError:
        apt = shutil.which("apt-get")
        if apt is None or os.geteuid() != 0:
            raise
        for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "pgbouncer"]):
            _ = subprocess.run(
                [apt, *step],
                check=False,  # What counts is whether it is there in the end.
                stdout=subprocess.DEVNULL,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        _ = find_pgbouncer()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
