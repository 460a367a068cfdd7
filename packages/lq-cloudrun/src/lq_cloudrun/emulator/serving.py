"""Serves an emulator until the process is asked to stop, and tells its events line by line."""

import asyncio
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from lq_cloudrun.emulator.emulator import Emulator
from lq_cloudrun.emulator.job import EmulatedJob


def serve(
    commands: Mapping[str, Sequence[str]],
    *,
    env: Mapping[str, str],
    max_retries: int,
    timeout: float,
    start_delay: float,
    project: str,
    region: str,
    port: int,
    log_directory: Path | None,
    say: Callable[[str], None],
) -> None:
    """
    Emulate one job for each of *commands* until SIGINT or SIGTERM.

    Raises ValueError for what Cloud Run would refuse, OSError when the port cannot be had.
    """
    jobs = [
        EmulatedJob(
            name=name, command=command, env=env, max_retries=max_retries, timeout=timeout, start_delay=start_delay
        )
        for name, command in commands.items()
    ]
    emulator = Emulator(jobs, project=project, region=region, port=port, log_directory=log_directory)
    events = logging.getLogger("lq_cloudrun.emulator")
    events.setLevel(logging.INFO)
    events.addHandler(_EventLines(say))
    asyncio.run(_serve(emulator, say))


async def _serve(emulator: Emulator, say: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with emulator:
        say(f"Emulating Cloud Run Jobs for {emulator.location} at {emulator.address}. Stop with Ctrl-C.")
        await stop.wait()
        say("Stopping.")


class _EventLines(logging.Handler):
    """Prints one line an event, as a person reads it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say

    @override
    def emit(self, record: logging.LogRecord) -> None:
        facts: Mapping[str, object] = vars(record)
        shown = " ".join(f"{name}={facts[name]}" for name in ("execution", "retried_count", "log") if name in facts)
        self._say(f"{datetime.now(UTC):%H:%M:%S} {record.getMessage():<21} {shown}")
