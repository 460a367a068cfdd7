"""The soak: kills, freezes, ends and restarts processes at random, from a seed."""

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
from soak.actors import HEARTBEAT_TIMEOUT, config
from soak.effects import read
from soak.result import STILL_OPEN, SoakResult, check_soak
from soak.work import EFFECT_LOG, TICK

PATIENCE: Final = 120.0
"""The most seconds until every record has ended after the last disturbance."""

Say = Callable[[str], None]


class SoakPlan(NamedTuple):
    """How long a soak takes, and how much it disturbs."""

    seconds: float
    workers: int = 3
    producers: int = 2
    pause: float = 1.0
    """Seconds between two disturbances, on average."""


class Soak:
    """One soak on one store; *folder* gets the files of the processes."""

    def __init__(self, address: str, folder: Path, *, seed: int, plan: SoakPlan, say: Say) -> None:
        self._address = address
        self._effects = folder / "effects.log"
        self._log = folder / "processes.log"
        self._rng = random.Random(seed)
        self._plan = plan
        self._say = say
        self._seed = seed
        self._workers: list[Process] = []
        self._producers: list[Process] = []
        self.disturbances = Counter[str]()
        """How often each disturbance happened."""

    async def run(self) -> SoakResult:
        """Disturb the processes, wait until every record has ended, and check the result."""
        self._effects.touch()
        self._say(f"seed {self._seed}, {self._plan.seconds:g} seconds")
        async with QueueService(config(self._address)) as service:
            try:
                await self._disturb(service)
                await self._quiesce(service)
                return await check_soak(service, read(self._effects))
            finally:
                for process in (*self._workers, *self._producers):
                    with suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()

    async def _disturb(self, service: QueueService) -> None:
        plan = self._plan
        self._workers = [await self._start("worker") for _ in range(plan.workers)]
        self._producers = [await self._start("producer") for _ in range(plan.producers)]
        while len(await service.workers()) < plan.workers:  # noqa: ASYNC110 -- other processes have no event
            await asyncio.sleep(0.1)  # As above.
        end, said = monotonic() + plan.seconds, 0.0
        while (left := end - monotonic()) > 0:
            await asyncio.sleep(min(left, self._rng.expovariate(1 / plan.pause)))  # The next disturbance comes then.
            await self._disturb_once()
            if monotonic() - said > 1:
                said = monotonic()
                await self._report(service, f"{max(0, left):4.0f} s left")

    async def _disturb_once(self) -> None:
        disturb = self._rng.choices(
            [self._kill_worker, self._freeze_worker, self._end_worker, self._kill_producer], [4, 3, 3, 2]
        )[0]
        await disturb()

    async def _kill_worker(self) -> None:
        await self._replace(self._workers, "worker", signal.SIGKILL)

    async def _end_worker(self) -> None:
        await self._replace(self._workers, "worker", signal.SIGTERM)

    async def _kill_producer(self) -> None:
        await self._replace(self._producers, "producer", signal.SIGKILL)

    async def _freeze_worker(self) -> None:
        """Stop a worker for longer than the heartbeat timeout, and let it continue."""
        process = self._rng.choice(self._workers)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(HEARTBEAT_TIMEOUT + self._rng.uniform(0.5, 1.5))  # The worker has to miss heartbeats.
        process.send_signal(signal.SIGCONT)
        self.disturbances["workers stopped for longer than the heartbeat"] += 1

    async def _replace(self, processes: list[Process], role: str, number: signal.Signals) -> None:
        place = self._rng.randrange(len(processes))
        processes[place].send_signal(number)
        await self._wait_for_end(processes[place], number)
        processes[place] = await self._start(role)
        self.disturbances[f"{role}s ended by {number.name}"] += 1

    async def _wait_for_end(self, process: Process, number: signal.Signals) -> None:
        code = await asyncio.wait_for(process.wait(), PATIENCE)
        if code not in {0, -number}:
            raise RuntimeError(f"A process ended with code {code}:\n{self._log.read_text()[-5000:]}")

    async def _start(self, role: str) -> Process:
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "soak.actors", role, self._address, str(self._rng.random())),
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
                    EFFECT_LOG: str(self._effects),
                },
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _quiesce(self, service: QueueService) -> None:
        """End the producers, let the workers finish, and end them too."""
        for process in self._producers:
            process.terminate()
            await self._wait_for_end(process, signal.SIGTERM)
        await service.pause_schedule(TICK)
        end = monotonic() + PATIENCE
        while await service.find(STILL_OPEN, limit=1) and monotonic() < end:
            await self._report(service, "quiet")
            await asyncio.sleep(0.5)  # Other processes have no event for this one.
        while await self._has_dead_workers(service) and monotonic() < end:  # noqa: ASYNC110 -- other processes have no event
            await asyncio.sleep(0.2)  # As above.
        for process in self._workers:
            process.terminate()
            await self._wait_for_end(process, signal.SIGTERM)

    async def _has_dead_workers(self, service: QueueService) -> bool:
        return len(await service.workers()) > len(self._workers)

    async def _report(self, service: QueueService, when: str) -> None:
        statistics = await service.statistics()
        totals = Counter[str]()
        for counts in statistics.counts.values():
            totals.update({status.value: count for status, count in counts.items()})
        counted = ", ".join(f"{count} {status}" for status, count in sorted(totals.items()))
        self._say(f"{when}: {counted or 'nothing yet'}; {sum(self.disturbances.values())} disturbances")
