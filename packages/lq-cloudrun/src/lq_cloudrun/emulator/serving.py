"""Serves an emulator until SIGINT or SIGTERM, and prints its events."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lq_cloudrun.emulator.emulator import Emulator
from lq_cloudrun.emulator.job import EmulatedJob
from lq_core.foundation.event_log import show_events


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

    Raises ValueError if Cloud Run would refuse a job, and OSError if the port is not free.
    """
    jobs = [
        EmulatedJob(
            name=name, command=command, env=env, max_retries=max_retries, timeout=timeout, start_delay=start_delay
        )
        for name, command in commands.items()
    ]
    emulator = Emulator(jobs, project=project, region=region, port=port, log_directory=log_directory)
    show_events(stream=sys.stdout)
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
