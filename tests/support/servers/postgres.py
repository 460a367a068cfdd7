"""
A PostgreSQL server for tests, which can stop, crash and start again on the same port, and have a standby.

It accepts every local connection without a password. Its superuser is ``postgres``.
"""

import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from typing_extensions import override

from servers.child_process import Leash, give_away, unprivileged_account
from servers.eventually import wait_until
from servers.installation import PostgresInstallation, find_installation
from servers.server import Server

SECONDS_TO_START: Final = 30.0
SUPERUSER: Final = "postgres"

_EMPTY: Final = """
DO $$
DECLARE
  filled text := (
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables
    WHERE schemaname = 'lq' AND tablename <> 'migrations'
  );
BEGIN
  IF filled IS NOT NULL THEN
    EXECUTE 'TRUNCATE ' || filled;
  END IF;
END $$
"""


class PostgresServer(Server):
    """
    One server with its own data directory; use it as a context manager.

    Without *durable* nothing is flushed to disk: right for tests of behaviour, wrong for
    measurements. *settings* are server parameters, for example ``{"max_connections": "20"}``.
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

    @property
    def log(self) -> str:
        """The log of the server so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def is_running(self) -> bool:
        """Return whether the server runs."""
        return self._process is not None and self._process.is_running()

    def dsn(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Return the address of *database*, directly or through a proxy at *port*."""
        return f"postgresql://{SUPERUSER}@{self.host}:{port or self.port}/{database}"

    @override
    def start(self) -> None:
        """Start the server, the first time in a new data directory, and wait until it answers."""
        if not (self.directory / "data").exists():
            self._initialise()
        # After a kill, the old processes need a moment to end, and lock the data directory until then.
        wait_until(
            self._starts,
            within=SECONDS_TO_START,
            otherwise=lambda: f"PostgreSQL did not start within {SECONDS_TO_START:g} seconds; its log:\n{self.log}",
        )

    def stop(self) -> None:
        """End every session and shut down cleanly."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Shut down at once, without a checkpoint: the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill the server process, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    @override
    def remove(self) -> None:
        """Stop the server, if it runs, and delete its files."""
        self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    def standby(self) -> "PostgresServer":
        """
        Make a hot standby of this server, which runs; it is not started yet.

        A commit then waits until the standby shows it, as long as the standby runs.
        """
        made = PostgresServer(self.installation, settings={"hot_standby": "on"})
        source = f"host={self.host} port={self.port} user={SUPERUSER} application_name=standby"
        made._run_apart("pg_basebackup", "-D", str(made.directory / "data"), "-d", source, "-R", "-c", "fast", "-N")
        self.run_sql("ALTER ROLE ALL SET synchronous_commit = 'remote_apply'")
        self.run_sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        self.run_sql("SELECT pg_reload_conf()")
        return made

    def promote(self) -> None:
        """Make a standby a primary, and wait until it accepts writes."""
        self.run_sql("SELECT pg_promote()")

    def refuse_writes(self) -> None:
        """Be read-only from the next transaction on, also in open sessions, as a former primary."""
        self.run_sql("ALTER SYSTEM SET default_transaction_read_only = on")
        self.run_sql("SELECT pg_reload_conf()")

    def create_database(self, name: str) -> str:
        """Create an empty database, and return its address."""
        self.run_sql(f'CREATE DATABASE "{name}"')
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database and its sessions, if it exists."""
        self.run_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def empty_database(self, name: str) -> str:
        """Delete the rows of lq in a database, keep its schema, and return its address."""
        self.run_sql(_EMPTY, at=self.dsn(name))
        return self.dsn(name)

    def run_sql(self, statement: str, *, at: str | None = None) -> str:
        """Run one statement as the superuser, and return its rows as text, one a line; *at* is an address."""
        command = [*self._program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", at or self.dsn(), "-c", statement]
        answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if answer.returncode != 0:
            message = f"psql failed on {statement!r}: {answer.stderr.strip()}"
            raise RuntimeError(message)
        return answer.stdout.rstrip("\n")

    def _initialise(self) -> None:
        data = str(self.directory / "data")
        self._run_apart("initdb", "-D", data, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

    def _run_apart(self, program: str, *arguments: str) -> None:
        """Run a program under the account of the servers."""
        account = unprivileged_account()
        subprocess.run(
            [*self._program(program), *arguments],
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
    """Find a free port on 127.0.0.1."""
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
    # The server writes to the eighth line that it accepts connections.
    if not path.exists():
        return False
    lines = path.read_text().splitlines()
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() in {"ready", "standby"}
