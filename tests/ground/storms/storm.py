"""The storm: processes that are killed, stopped, ended and started again, by dice whose seed can be given."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from lq_core import QueueService
from storms.actors import HEARTBEAT_TIMEOUT, config
from storms.book import read
from storms.verdict import STILL_OPEN, Verdict, judge
from storms.work import BOOK, TICK

PATIENCE: Final = 120.0
"""Seconds in which everything has to come to its end when the storm is over."""

Say = Callable[[str], None]


class Weather(NamedTuple):
    """How long and how hard it blows."""

    seconds: float
    workers: int = 3
    producers: int = 2
    calm: float = 1.0
    """Seconds between two strokes, on average."""


class Storm:
    """One soak on one store; *folder* is where the processes may leave things."""

    def __init__(self, address: str, folder: Path, *, seed: int, weather: Weather, say: Say) -> None:
        self._address = address
        self._book = folder / "book"
        self._log = folder / "processes.log"
        self._dice = random.Random(seed)
        self._weather = weather
        self._say = say
        self._seed = seed
        self._workers: list[Process] = []
        self._producers: list[Process] = []
        self.strokes = Counter[str]()
        """What was done to the processes, and how often."""

    async def blow(self) -> Verdict:
        """Blow, wait until it is quiet, and judge what is left."""
        self._book.touch()
        self._say(f"seed {self._seed}, {self._weather.seconds:g} seconds")
        async with QueueService(config(self._address)) as service:
            try:
                await self._blow(service)
                await self._quiesce(service)
                return await judge(service, read(self._book))
            finally:
                for process in (*self._workers, *self._producers):
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()

    async def _blow(self, service: QueueService) -> None:
        weather = self._weather
        self._workers = [await self._start("worker") for _ in range(weather.workers)]
        self._producers = [await self._start("producer") for _ in range(weather.producers)]
        end, said = monotonic() + weather.seconds, 0.0
        while (left := end - monotonic()) > 0:
            await asyncio.sleep(min(left, self._dice.expovariate(1 / weather.calm)))  # The wind is no event.
            await self._strike()
            if monotonic() - said > 1:
                said = monotonic()
                await self._report(service, f"{max(0, left):4.0f} s to blow")

    async def _strike(self) -> None:
        stroke = self._dice.choices(
            [self._kill_worker, self._freeze_worker, self._end_worker, self._kill_producer], [4, 3, 3, 2]
        )[0]
        await stroke()

    async def _kill_worker(self) -> None:
        await self._replace(self._workers, "worker", signal.SIGKILL)

    async def _end_worker(self) -> None:
        await self._replace(self._workers, "worker", signal.SIGTERM)

    async def _kill_producer(self) -> None:
        await self._replace(self._producers, "producer", signal.SIGKILL)

    async def _freeze_worker(self) -> None:
        """Stop a worker for longer than its heartbeat may fail, and let it go on as if nothing had been."""
        process = self._dice.choice(self._workers)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(HEARTBEAT_TIMEOUT + self._dice.uniform(0.5, 1.5))  # It is the sleep of the other process.
        process.send_signal(signal.SIGCONT)
        self.strokes["workers stopped for longer than the heartbeat"] += 1

    async def _replace(self, crew: list[Process], role: str, number: signal.Signals) -> None:
        place = self._dice.randrange(len(crew))
        crew[place].send_signal(number)
        await self._ended(crew[place], number)
        crew[place] = await self._start(role)
        self.strokes[f"{role}s ended by {number.name}"] += 1

    async def _ended(self, process: Process, number: signal.Signals) -> None:
        code = await asyncio.wait_for(process.wait(), PATIENCE)
        if code not in {0, -number}:
            raise RuntimeError(f"A process ended with code {code}:\n{self._log.read_text()[-5000:]}")

    async def _start(self, role: str) -> Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "storms.actors", role, self._address, str(self._dice.random())),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
                    BOOK: str(self._book),
                },
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _quiesce(self, service: QueueService) -> None:
        """End the producers, let the workers finish, and end them too."""
        for process in self._producers:
            process.terminate()
            await self._ended(process, signal.SIGTERM)
        await service.pause_schedule(TICK)
        end = monotonic() + PATIENCE
        while await service.find(STILL_OPEN, limit=1) and monotonic() < end:
            await self._report(service, "quiet")
            await asyncio.sleep(0.5)  # Other processes have no event for us.
        while await self._unburied(service) and monotonic() < end:  # noqa: ASYNC110 -- other processes have no event
            await asyncio.sleep(0.2)  # As above.
        for process in self._workers:
            process.terminate()
            await self._ended(process, signal.SIGTERM)

    async def _unburied(self, service: QueueService) -> bool:
        return len(await service.workers()) > len(self._workers)

    async def _report(self, service: QueueService, when: str) -> None:
        statistics = await service.statistics()
        totals = Counter[str]()
        for counts in statistics.counts.values():
            totals.update({status.value: count for status, count in counts.items()})
        told = ", ".join(f"{count} {status}" for status, count in sorted(totals.items()))
        self._say(f"{when}: {told or 'nothing yet'}; {sum(self.strokes.values())} strokes")
