"""
A server process that ends with the test run, even if the test run is killed.

A small shell holds the other end of a pipe, and interrupts the server when the pipe closes.
"""

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

SECONDS_TO_END: Final = 20.0
"""Seconds until an interrupted server is killed."""

_HOLD: Final = """
exec 3<&0
"$@" 3<&- </dev/null >>"$LEASH_LOG" 2>&1 &
server=$!
echo "$server"
exec >/dev/null
{ cat <&3; kill -s INT "$server"; } 2>/dev/null &
exec 3<&-
wait "$server"
"""


class Account(NamedTuple):
    """The account of a program, for ``subprocess``; None changes nothing."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


class Leash:
    """One running server process; :meth:`end` returns when it is gone."""

    def __init__(self, command: Sequence[str | Path], *, log: Path) -> None:
        account = unprivileged_account()
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _HOLD, "leash", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LEASH_LOG": str(log), "LC_ALL": "C"},
            cwd=log.parent,
            user=account.user,
            group=account.group,
            extra_groups=account.groups,
            text=True,
        )
        assert self._shell.stdout is not None
        self.pid: Final = int(self._shell.stdout.readline())

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__} pid={self.pid} {'running' if self.is_running() else 'ended'}>"

    def is_running(self) -> bool:
        """Return whether the server runs."""
        return self._shell.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it runs."""
        if self.is_running():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send *number* to the server, wait for its end, and kill it if that takes too long."""
        self.send(number)
        try:
            self._shell.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self._shell.wait(SECONDS_TO_END)
        for pipe in (self._shell.stdin, self._shell.stdout):
            assert pipe is not None
            pipe.close()


def unprivileged_account() -> Account:
    """
    Return the account for servers: this one, or another one if this one is root.

    PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return Account()
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return Account(entry.pw_uid, entry.pw_gid, ())


def give_away(directory: Path) -> None:
    """Make the account of the servers the owner of *directory*."""
    account = unprivileged_account()
    if account.user is not None and account.group is not None:
        os.chown(directory, account.user, account.group)
