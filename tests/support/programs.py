"""Runs programs in a folder, to their end or until a test stops them."""

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

PATIENCE: Final = 30.0
"""The most seconds that a test waits for a program."""


class Answer(NamedTuple):
    """What a program printed, and how it ended."""

    code: int
    out: str
    err: str


class Program:
    """A running program. A test reads its output and its errors line by line."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.printed: list[str] = []

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    async def line_with(self, text: str) -> str:
        """Read on until a line that contains *text*, and return it."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE):
            async for line in self._process.stdout:
                self.printed.append(line.decode())
                if text in self.printed[-1]:
                    return self.printed[-1]
        raise AssertionError(f"{text!r} was not printed. Output: {''.join(self.printed)}")

    async def said(self, text: str, *, times: int = 1) -> str:
        """Return the first line that contains *text*, once *times* lines do, those read so far and the next ones."""
        while len(found := [line for line in self.printed if text in line]) < times:
            await self.line_with(text)
        return found[0]

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if there is one, wait for the end, and return the exit code."""
        if number is not None:
            self.send(number)
        rest, _ = await asyncio.wait_for(self._process.communicate(), PATIENCE)
        self.printed += rest.decode().splitlines(keepends=True)
        assert self._process.returncode is not None
        return self._process.returncode


async def run(*command: str | Path, folder: Path, within: float = PATIENCE, **environment: str) -> Answer:
    """Run a program to its end. If that takes too long, kill it and the processes that it started."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env={**os.environ, **environment},
        stdout=PIPE,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), within)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode is not None
    return Answer(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def running(*command: str | Path, folder: Path, **environment: str) -> AsyncGenerator[Program, None]:
    """Start a program in its own process group, and kill the group at the end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        yield Program(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def until(condition: Callable[[], Awaitable[bool]], *, what: str, pause: float = 0.02) -> None:
    """Poll until *condition* holds, for changes by another process, which has no event for this one."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not await condition():  # noqa: ASYNC110 -- another process has no event that we could wait for
                await asyncio.sleep(pause)  # As above.
    except TimeoutError:
        raise AssertionError(f"Within {PATIENCE:g} s it did not become true that {what}.") from None
