"""
Runs one attempt of a task as a local process, in a process group of its own.

When the attempt ends, or the emulator stops, no process of its group stays alive. A descendant that leaves the group
(with ``setsid``) continues.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Final

_CHUNK: Final = 65536

# Output still in the pipe is there at once. Only a descendant that left the group can hold the pipe open for longer.
_LAST_OUTPUT: Final = 1.0

_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How an attempt ended; at most one of *exit_code* and *term_signal* is not 0."""

    exit_code: int = 0
    term_signal: int = 0
    timed_out: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether Cloud Run would count the attempt as a success."""
        return not (self.exit_code or self.term_signal or self.timed_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """A command, and how to end it."""

    command: Sequence[str]
    env: Mapping[str, str]
    working_directory: Path | None
    timeout: float
    """Seconds until SIGTERM."""

    grace: float
    """Seconds from SIGTERM to SIGKILL."""


async def run_program(program: Program, *, output: Callable[[bytes], None], stop: asyncio.Event) -> Ending:
    """Run *program* until it ends, its time is up, or *stop* is set; pass its output to *output*."""
    inlet, outlet = os.pipe()
    reading = asyncio.create_task(_pass_on(inlet, output))
    try:
        process = _start(program, outlet)
    except OSError as error:
        output(f"The command could not be started: {error}\n".encode())
        return Ending(exit_code=_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUNNABLE)
    else:
        return await _ended(process, program, stop)
    finally:
        os.close(outlet)
        _, late = await asyncio.wait({reading}, timeout=_LAST_OUTPUT)
        for task in late:
            task.cancel()


def _start(program: Program, outlet: int) -> subprocess.Popen[bytes]:
    # Not through the event loop: uvloop forks, and the fork handlers of gRPC sometimes crash the child.
    # Popen does not fork on Linux, and runs no such handlers.
    return subprocess.Popen(  # noqa: S603 -- running the command of a job is the purpose
        program.command,
        stdin=subprocess.DEVNULL,
        stdout=outlet,
        stderr=outlet,
        env=program.env,
        cwd=program.working_directory,
        start_new_session=True,
    )


def _watched(process: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def watch() -> None:
        ended = process.wait()
        loop.call_soon_threadsafe(code.set_result, ended)

    # A thread of its own, because a job may take a week, and would block a pool for all others.
    Thread(target=watch, name=f"lq-cloudrun-{process.pid}", daemon=True).start()
    return code


async def _ended(process: subprocess.Popen[bytes], program: Program, stop: asyncio.Event) -> Ending:
    waiting = _watched(process)
    stopping = asyncio.create_task(stop.wait())
    timed_out = False
    try:
        await asyncio.wait({waiting, stopping}, timeout=program.timeout, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            timed_out = not stop.is_set()
            # As in a container, only the first process gets SIGTERM. The others end with it.
            with suppress(ProcessLookupError):
                process.terminate()
            await asyncio.wait({waiting}, timeout=program.grace)
    finally:
        stopping.cancel()
        _kill_group(process.pid)
        await asyncio.wait({waiting})
    code = waiting.result()
    return Ending(exit_code=max(code, 0), term_signal=max(-code, 0), timed_out=timed_out)


def _kill_group(group: int) -> None:
    # macOS raises PermissionError for a group in which only zombies are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _pass_on(inlet: int, output: Callable[[bytes], None]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(inlet, "rb", buffering=0)
    )
    try:
        while chunk := await reader.read(_CHUNK):
            output(chunk)
    finally:
        transport.close()
