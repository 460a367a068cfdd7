"""
A PostgreSQL server of our own: started, stopped, crashed and started again on the same port.

It trusts everyone who reaches 127.0.0.1 and knows its port; its superuser is ``postgres``.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

from servers.installation import PostgresInstallation, find_installation
from servers.leash import Leash, give_away, unprivileged_account
from servers.patience import wait_until

SECONDS_TO_START: Final = 30.0
SUPERUSER: Final = "postgres"


class PostgresServer:
    """
    One server with its own data directory; use it as a context manager.

    Without *durable* nothing is flushed to disk: right for tests of behaviour, wrong for
    measurements. *settings* are server parameters, such as ``{"max_connections": "20"}``.
    """

    def __init__(
        self,
        installation: PostgresInstallation | None = None,
        *,
        durable: bool = False,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.installation: Final = installation or find_installation()
        self.host: Final = "127.0.0.1"
        self.port: Final = free_port()
        self.directory: Final = Path(tempfile.mkdtemp(prefix="lq-postgres-"))
        self._settings = _settings(self.directory, self.port, durable=durable) | (settings or {})
        self._process: Leash | None = None
        give_away(self.directory)

    @override
    def __repr__(self) -> str:
        state = "running" if self.is_running() else "stopped"
        return f"<{type(self).__name__} {self.installation.version} port={self.port} {state}>"

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
        """What the server has written to its log so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def is_running(self) -> bool:
        """Whether the server process is there."""
        return self._process is not None and self._process.is_running()

    def dsn(self, database: str = "postgres", *, port: int | None = None) -> str:
        """The address of *database*, or of what listens in front of it at *port*."""
        return f"postgresql://{SUPERUSER}@{self.host}:{port or self.port}/{database}"

    def start(self) -> None:
        """Start the server, the first time in a new data directory, and wait until it answers."""
        if not (self.directory / "data").exists():
            self._initialise()
        # After a kill the old processes need a moment to notice, and keep the data directory until then.
        wait_until(
            self._starts,
            within=SECONDS_TO_START,
            otherwise=lambda: f"PostgreSQL did not start within {SECONDS_TO_START:g} seconds; its log:\n{self.log}",
        )

    def stop(self) -> None:
        """End every session and shut down in good order."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Shut down at once, without a checkpoint: the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill the server process, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        """Stop the server, if it runs, and delete its files."""
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_database(self, name: str) -> str:
        """Create an empty database, and return its address."""
        self.run_sql(f'CREATE DATABASE "{name}"')
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database, and whoever is connected to it, if it is there."""
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def run_sql(self, statement: str, *, at: str | None = None) -> str:
        """Run one statement as the superuser, and return its rows as text, one a line; *at* is an address."""
        command = [*self._program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", at or self.dsn(), "-c", statement]
        answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if answer.returncode != 0:
            message = f"psql failed on {statement!r}: {answer.stderr.strip()}"
            raise RuntimeError(message)
        return answer.stdout.rstrip("\n")

    def _initialise(self) -> None:
        account = unprivileged_account()
        command = [*self._program("initdb"), "-D", str(self.directory / "data"), "-U", SUPERUSER, "-A", "trust"]
        subprocess.run(
            [*command, "-E", "UTF8", "--no-locale", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=self.directory,
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
        )

    def _starts(self) -> bool:
        given = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        process = Leash([*self._program("postgres"), "-D", self.directory / "data", *given], log=self.directory / "log")
        self._process = process
        status = self.directory / "data" / "postmaster.pid"
        wait_until(
            lambda: _is_ready(status, process.pid) or not process.is_running(),
            within=SECONDS_TO_START,
            otherwise=lambda: f"PostgreSQL did not get ready within {SECONDS_TO_START:g} seconds; its log:\n{self.log}",
        )
        if not process.is_running():
            self._end(signal.SIGQUIT)
        return self.is_running()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(number)
            self._process = None

    def _program(self, name: str) -> list[str]:
        return [str(self.installation.programs / name)]


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _settings(directory: Path, port: int, *, durable: bool) -> dict[str, str]:
    flush = "on" if durable else "off"
    return {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(directory),
        "fsync": flush,
        "synchronous_commit": flush,
        "full_page_writes": flush,
        "max_connections": "100",
        "shared_buffers": "256MB" if durable else "64MB",
    }


def _is_ready(path: Path, pid: int) -> bool:
    # The eighth line is the server's own word that it takes connections.
    if not path.exists():
        return False
    lines = path.read_text().splitlines()
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
