"""Runs a scenario with a client and a worker, and a second worker if the first ends. Returns a list of problems."""

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from fake_clock import Time, run_with_fake_clock
from fault_injection import CallLog, Fault, FaultyBackend, Point, faulty_backend
from lq_core import QueueConfig, QueueService, RecordFilter, TaskStatus, Worker
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from scenarios import Scenario, ScenarioContext

NUMBERS: Final = count()
CONFIG: Final = QueueConfig(heartbeat_interval=1.0, heartbeat_timeout=3.0, shutdown_grace=0.5, concurrency=3)
OPEN: Final = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING))
SECONDS_TO_END: Final = 300.0
"""The most seconds of the fake clock until every record must have ended."""

SECONDS_AFTER_THE_END: Final = 4.0
"""Seconds of the fake clock for late writes to appear, and for dead workers to be removed."""

CHANGES: Final = {"insert_many", "settle", "claim", "settle and claim", "request_cancel"}

CALLS_OF_A_KIND: Final = 2
"""The number of calls of each kind that changes records to inject faults into; of other kinds, one call."""


class ScenarioRun:
    """One scenario on one store, with at most one fault."""

    def __init__(self, scenario: Scenario, store: Path | None, injected: tuple[Point, Fault] | None) -> None:
        self.scenario = scenario
        self.call_log = CallLog()
        self.calls = Counter[tuple[str, str]]()
        """The calls until every record has ended."""

        self._injected = injected
        self._store = store
        self._backends: list[FaultyBackend] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, time: Time) -> list[str]:
        """Run the scenario, and return the problems."""
        random.seed(7)
        self._time = time
        async with AsyncExitStack() as closing:
            self._closing = closing
            self._shared = InMemoryQueueBackend(CONFIG, clock=time.now)
            observer = self._backend()
            await observer.open()
            closing.push_async_callback(observer.close)
            closing.push_async_callback(self._clean_up)
            return await self._run(observer)

    async def _run(self, observer: BaseQueueBackend) -> list[str]:
        client_backend, service = self._process("client")
        worker_backend, first_service = self._process("worker")
        first = Worker(first_service)
        worker_task = self._start(worker_backend, self._work(first_service, first))
        _, second_service = self._process("second worker")
        second = Worker(second_service)
        second_worker_task: asyncio.Task[None] | None = None
        await service.open()
        client_task = self._start(client_backend, self.scenario.steps(ScenarioContext(self._time, service, first)))
        try:
            async with asyncio.timeout(SECONDS_TO_END):
                # Look at the client first: while it runs, more records can follow.
                while not (client_task.done() or client_backend.is_dead) or await self._open(observer):
                    if second_worker_task is None and (worker_task.done() or worker_backend.is_dead):
                        second_worker_task = self._start(self._backends[-1], self._work(second_service, second))
                    await asyncio.sleep(0.5)  # By the fake clock.
        except TimeoutError:
            pass
        self.calls = Counter(self.call_log.calls)
        if second_worker_task is None and (worker_task.done() or worker_backend.is_dead):
            second_worker_task = self._start(self._backends[-1], self._work(second_service, second))
        await asyncio.sleep(SECONDS_AFTER_THE_END)  # By the fake clock.
        problems = [f"{record!r} has been forgotten" for record in await self._open(observer)]
        if not client_backend.is_dead:
            await service.close()
        for worker, task in ((first, worker_task), (second, second_worker_task)):
            worker.stop()
            if task is not None and not (task is worker_task and worker_backend.is_dead):
                await asyncio.wait([task], timeout=SECONDS_TO_END)
                if task is second_worker_task or not self._is_injected_into("worker"):
                    problems += _unfinished(task)
        names = {worker.id for worker in await self._time.outside(observer.workers)}
        if names and not (self._injected and self._injected[0].method == "retire"):
            problems.append(f"{len(names)} workers are left")
        return problems + list(self._faults())

    def _faults(self) -> Iterator[str]:
        ends = Counter(record_id for record_id, _ in self.call_log.ends)
        last: dict[UUID, TaskStatus] = dict(self.call_log.ends)
        allowed = {self.scenario.end, TaskStatus.COMPLETED} if self._is_injected_into("client") else {self.scenario.end}
        for record_id, number in ends.items():
            if number > self.scenario.ends or last[record_id] not in allowed | self._ends_without_the_client():
                yield f"the records ended like this: {[status.value for _, status in self.call_log.ends]}"
        for record_id, starts in self.call_log.starts.items():
            if starts > self.scenario.starts + 1:
                yield f"{record_id} was started {starts} times"
        twice = [attempt for (_, attempt), number in self.call_log.attempts.items() if number > 1]
        if twice:
            yield f"attempts {twice} were begun twice"
        if not ends and not self._is_injected_into("client"):
            yield "nothing has ended"

    def _ends_without_the_client(self) -> set[TaskStatus]:
        """Return the statuses that are also allowed if the client dies during the scenario."""
        return {TaskStatus.FAILED} if self.scenario.ends > 1 and self._is_injected_into("client") else set()

    def _is_injected_into(self, process: str) -> bool:
        return self._injected is not None and self._injected[0].process == process

    async def _open(self, observer: BaseQueueBackend) -> Sequence[object]:
        return await self._time.outside(lambda: observer.find(OPEN))

    def _backend(self) -> BaseQueueBackend:
        if self._store is None:
            return self._shared
        return SQLiteQueueBackend(
            CONFIG, settings=SQLiteConfig(path=self._store, synchronous="NORMAL"), clock=self._time.now
        )

    def _process(self, name: str) -> tuple[FaultyBackend, QueueService]:
        made = faulty_backend(
            name, self._backend(), CONFIG, time=self._time, call_log=self.call_log, injected=self._injected
        )
        self._backends.append(made)
        return made, QueueService(CONFIG, queue_backend=made)

    async def _work(self, service: QueueService, worker: Worker) -> None:
        async with service:
            await worker.run()

    def _start(self, backend: FaultyBackend, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(what)
        backend.to_cancel = task
        self._tasks.append(task)
        return task

    async def _clean_up(self) -> None:
        for one in self._backends:
            one.over.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._backends:
            await one.inner.close()


def _unfinished(task: asyncio.Task[None]) -> Iterator[str]:
    """Report a worker that has no injected fault and has not ended well."""
    if not task.done():
        yield "a worker does not stop"
    elif not task.cancelled() and (error := task.exception()) is not None:
        yield f"a worker ended with {error!r}"


def run_scenario(
    scenario: Scenario, store: Path | None, injected: tuple[Point, Fault] | None = None
) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Run a scenario once; *store* is a folder for a SQLite file, or None for memory."""
    scenario_run = ScenarioRun(scenario, store and store / f"{next(NUMBERS)}.db", injected)
    return run_with_fake_clock(scenario_run.run), scenario_run.calls


@cache
def points(scenario: Scenario) -> Sequence[Point]:
    """List the calls that a scenario makes if nothing fails, without repetitions."""
    problems, calls_made = run_scenario(scenario, None)
    assert problems == []
    return [
        Point(process, method, number)
        for (process, method), calls in calls_made.items()
        for number in range(1, min(calls, CALLS_OF_A_KIND if method in CHANGES else 1) + 1)
        if process != "second worker"
    ]


def problems_at_every_call(scenario: Scenario, fault: Fault) -> list[str]:
    """Run a scenario in memory once for each call, with the fault at that call; return the problems."""
    return [problem for point in points(scenario) for problem in problems_at(point, scenario, None, fault)]


def problems_at_every_change(scenario: Scenario, store: Path, fault: Fault) -> list[str]:
    """The same in files of *store*, with the fault at the first call of each kind that changes records."""
    changes = [point for point in points(scenario) if point.method in CHANGES and point.number == 1]
    return [problem for point in changes for problem in problems_at(point, scenario, store, fault)]


def problems_at(point: Point, scenario: Scenario, store: Path | None, fault: Fault) -> list[str]:
    """Run a scenario with one fault, and return the problems."""
    where = f"{scenario.steps.__name__}, {fault} at {point.method} {point.number} of the {point.process}"
    return [f"{where}: {problem}" for problem in run_scenario(scenario, store, (point, fault))[0]]
