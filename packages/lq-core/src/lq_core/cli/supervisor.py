"""Runs worker processes: restarts those that die, passes signals on, and ends when all have ended."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from lq_core.cli.output import echo
from lq_core.cli.reload import changed_files

VARIABLE: Final = "LQ_SUPERVISOR"
"""The process id of the supervisor, in the environment of its processes."""

CANNOT_START: Final = 78
"""The exit code of a worker process that has printed why it cannot start."""

BY_SIGNAL: Final = 128
"""The exit code of a process that a signal has killed is this and the number of the signal, as in a shell."""

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a restart; each pause is twice as long as the one before."""

HEALTHY: Final = 60.0
"""A process that has lived for this many seconds is restarted after the first pause again."""

RELOAD_GRACE: Final = 5.0
"""Seconds that a process has to end when a file has changed."""


def supervise(processes: int, *, reload: bool) -> int:
    """Run this command in several processes until a signal ends them, and return the exit code for all of them."""
    return asyncio.run(Supervisor([sys.executable, *sys.orig_argv[1:]], processes, reload=reload).run())


class Supervisor:
    """Keeps *processes* processes running; with *reload*, restarts them when a Python file of this folder changes."""

    def __init__(self, command: Sequence[str], processes: int, *, reload: bool) -> None:
        self._command = command
        self._processes = processes
        self._reload = reload
        self._running: set[Process] = set()
        self._outdated: set[Process] = set()
        """The processes that end because a file has changed."""

        self._cannot_start = False
        self._received: list[signal.Signals] = []
        self._again = asyncio.Event()
        """Ends the pause before a restart."""

    async def run(self) -> int:
        """Run until all processes have ended after a signal. Returns the largest exit code; 128 + n means signal n."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # As `nohup` wants it.
                loop.add_signal_handler(number, self._pass_on, number)
        watching = asyncio.create_task(self._restart_on_changes()) if self._reload else None
        codes = await asyncio.gather(*(self._keep_running() for _ in range(self._processes)))
        if watching is not None:
            watching.cancel()
        return 1 if self._cannot_start else max(codes)

    async def _keep_running(self) -> int:
        failures, is_first = 0, True
        while True:
            began = monotonic()
            process, code = await self._run_once()
            if self._received:
                return code
            if process in self._outdated:
                self._outdated.discard(process)
                continue
            if code == CANNOT_START and is_first and not self._reload:
                self._cannot_start = True
                self._pass_on(signal.SIGTERM)
                return code
            is_first = False
            failures = 1 if monotonic() - began > HEALTHY else failures + 1
            pause = min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            when = "when a file changes" if self._reload else f"in {pause:g} s"
            how = "cannot start" if code == CANNOT_START else f"ended with exit code {code}"
            how = f"was killed by signal {code - BY_SIGNAL}" if code > BY_SIGNAL else how
            echo(f"Process {process.pid} {how}. It is restarted {when}.", err=True)
            await self._wait(None if self._reload else pause)
            if self._received:
                return code

    async def _run_once(self) -> tuple[Process, int]:
        self._again.clear()
        env = {**os.environ, VARIABLE: str(os.getpid())}
        if self._reload:
            env["PYTHONDONTWRITEBYTECODE"] = "1"  # A second change within a second would not be noticed.
        # In a group of its own, Ctrl-C reaches a process only once: through the supervisor.
        process = await create_subprocess_exec(*self._command, env=env, stdin=DEVNULL, process_group=0)
        self._running.add(process)
        echo(f"Process {process.pid} runs a worker.", err=True)
        for number in self._received:
            process.send_signal(number)
        code = await process.wait()
        self._running.discard(process)
        return process, code if code >= 0 else BY_SIGNAL - code

    def _pass_on(self, number: signal.Signals) -> None:
        self._received.append(number)
        self._again.set()
        for process in self._running:
            process.send_signal(number)

    async def _wait(self, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._again.wait()
        except TimeoutError:
            pass

    async def _restart_on_changes(self) -> None:
        async for file in changed_files(Path.cwd()):
            echo(f"{file} has changed: restarting.", err=True)
            self._again.set()
            for process in self._running - self._outdated:
                self._outdated.add(process)
                for number in (signal.SIGTERM, signal.SIGINT):  # The second signal interrupts running tasks.
                    process.send_signal(number)
                asyncio.get_running_loop().call_later(RELOAD_GRACE, self._kill, process)

    def _kill(self, process: Process) -> None:
        if process in self._running:
            process.kill()


def supervisor() -> int | None:
    """Return the process id of the supervisor of this process, once; None if it has none."""
    pid = os.environ.pop(VARIABLE, None)
    return None if pid is None else int(pid)


def stop_with(parent: int, stop: Callable[[], None]) -> None:
    """Call *stop* in this event loop when the supervisor has ended without a signal to its processes."""
    if os.getppid() != parent:
        stop()
    else:
        asyncio.get_running_loop().call_later(1.0, stop_with, parent, stop)
