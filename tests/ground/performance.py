"""Performs a play: a client, a worker, a second worker when the first one is gone, and what went wrong in the end."""

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

from leaping import Time, leap_through
from lq_core import QueueConfig, QueueService, RecordFilter, TaskStatus, Worker
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from plays import Play, Stage
from troubled import Fault, Ledger, Point, Way, way

NUMBERS: Final = count()
CONFIG: Final = QueueConfig(heartbeat_interval=1.0, heartbeat_timeout=3.0, shutdown_grace=0.5, concurrency=3)
OPEN: Final = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.DISPATCHED, TaskStatus.RUNNING))
PATIENCE: Final = 300.0
"""Seconds of the play after which what has not ended never will."""

AFTERWARDS: Final = 4.0
"""Seconds of the play in which a late write would be seen, and in which the dead are buried."""

CHANGES: Final = {"insert_many", "settle", "claim", "settle and claim", "request_cancel"}

OFTEN: Final = 2
"""How many changing calls of one kind are put in trouble, and one of the others: later ones are the same again."""


class Performance:
    """One play on one store, with at most one trouble."""

    def __init__(self, play: Play, store: Path | None, trouble: tuple[Point, Fault] | None) -> None:
        self.play = play
        self.ledger = Ledger()
        self.told = Counter[tuple[str, str]]()
        """The calls that were made until the story was over."""

        self._trouble = trouble
        self._store = store
        self._ways: list[Way] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, time: Time) -> list[str]:
        """Perform it, and tell what is not as it must be."""
        random.seed(7)
        self._time = time
        async with AsyncExitStack() as closing:
            self._closing = closing
            self._shared = InMemoryQueueBackend(CONFIG, clock=time.now)
            observer = self._backend()
            await observer.open()
            closing.push_async_callback(observer.close)
            closing.push_async_callback(self._clear_away)
            return await self._run(observer)

    async def _run(self, observer: BaseQueueBackend) -> list[str]:
        client_way, service = self._process("client")
        worker_way, first_service = self._process("worker")
        first = Worker(first_service)
        working = self._start(worker_way, self._work(first_service, first))
        _, second_service = self._process("second worker")
        second = Worker(second_service)
        second_working: asyncio.Task[None] | None = None
        await service.open()
        telling = self._start(client_way, self.play.story(Stage(self._time, service, first)))
        try:
            async with asyncio.timeout(PATIENCE):
                # First whether the client has said its last word, and then what that has left behind.
                while not (telling.done() or client_way.is_dead) or await self._open(observer):
                    if second_working is None and (working.done() or worker_way.is_dead):
                        second_working = self._start(self._ways[-1], self._work(second_service, second))
                    await asyncio.sleep(0.5)  # By a clock that leaps.
        except TimeoutError:
            pass
        self.told = Counter(self.ledger.calls)
        if second_working is None and (working.done() or worker_way.is_dead):
            second_working = self._start(self._ways[-1], self._work(second_service, second))
        await asyncio.sleep(AFTERWARDS)  # By a clock that leaps.
        complaints = [f"{record!r} has been forgotten" for record in await self._open(observer)]
        if not client_way.is_dead:
            await service.close()
        for worker, task in ((first, working), (second, second_working)):
            worker.stop()
            if task is not None and not (task is working and worker_way.is_dead):
                await asyncio.wait([task], timeout=PATIENCE)
                if task is second_working or not self._disturbs("worker"):
                    complaints += _last_words(task)
        names = {worker.id for worker in await self._time.outside(observer.workers)}
        if names and not (self._trouble and self._trouble[0].verb == "retire"):
            complaints.append(f"{len(names)} workers are left")
        return complaints + list(self._faults())

    def _faults(self) -> Iterator[str]:
        ends = Counter(record_id for record_id, _ in self.ledger.ends)
        last: dict[UUID, TaskStatus] = dict(self.ledger.ends)
        allowed = {self.play.end, TaskStatus.COMPLETED} if self._disturbs("client") else {self.play.end}
        for record_id, number in ends.items():
            if number > self.play.ends or last[record_id] not in allowed | self._halfway():
                yield f"it ended like this: {[status.value for _, status in self.ledger.ends]}"
        for record_id, starts in self.ledger.starts.items():
            if starts > self.play.starts + 1:
                yield f"{record_id} was started {starts} times"
        twice = [attempt for (_, attempt), number in self.ledger.attempts.items() if number > 1]
        if twice:
            yield f"attempts {twice} were begun twice"
        if not ends and not self._disturbs("client"):
            yield "nothing has ended"

    def _halfway(self) -> set[TaskStatus]:
        """How it may end as well when the client is gone before it has told its story to the end."""
        return {TaskStatus.FAILED} if self.play.ends > 1 and self._disturbs("client") else set()

    def _disturbs(self, process: str) -> bool:
        return self._trouble is not None and self._trouble[0].process == process

    async def _open(self, observer: BaseQueueBackend) -> Sequence[object]:
        return await self._time.outside(lambda: observer.find(OPEN))

    def _backend(self) -> BaseQueueBackend:
        if self._store is None:
            return self._shared
        return SQLiteQueueBackend(
            CONFIG, settings=SQLiteConfig(path=self._store, synchronous="NORMAL"), clock=self._time.now
        )

    def _process(self, name: str) -> tuple[Way, QueueService]:
        made = way(name, self._backend(), CONFIG, time=self._time, ledger=self.ledger, trouble=self._trouble)
        self._ways.append(made)
        return made, QueueService(CONFIG, queue_backend=made)

    async def _work(self, service: QueueService, worker: Worker) -> None:
        async with service:
            await worker.run()

    def _start(self, way: Way, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(what)
        way.victim = task
        self._tasks.append(task)
        return task

    async def _clear_away(self) -> None:
        for one in self._ways:
            one.over.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self._ways:
            await one.inner.close()


def _last_words(task: asyncio.Task[None]) -> Iterator[str]:
    """Tell why a worker that was not to be disturbed has not come to its end."""
    if not task.done():
        yield "a worker does not stop"
    elif not task.cancelled() and (error := task.exception()) is not None:
        yield f"a worker ended with {error!r}"


def perform(
    play: Play, store: Path | None, trouble: tuple[Point, Fault] | None = None
) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Perform a play once; *store* is a folder for a SQLite file, or None for memory."""
    performance = Performance(play, store and store / f"{next(NUMBERS)}.db", trouble)
    return leap_through(performance.run), performance.told


@cache
def points(play: Play) -> Sequence[Point]:
    """Every call that a play makes when nothing goes wrong, as far as they are not the same again."""
    complaints, told = perform(play, None)
    assert complaints == []
    return [
        Point(process, verb, number)
        for (process, verb), calls in told.items()
        for number in range(1, min(calls, OFTEN if verb in CHANGES else 1) + 1)
        if process != "second worker"
    ]


def complaints_at_every_call(play: Play, fault: Fault) -> list[str]:
    """Perform a play in memory again and again, each time with the fault at another call; tell what went wrong."""
    return [complaint for point in points(play) for complaint in complaints_at(point, play, None, fault)]


def complaints_at_every_change(play: Play, store: Path, fault: Fault) -> list[str]:
    """As above in files of *store*, with the fault at the first call of each kind that changes records."""
    changes = [point for point in points(play) if point.verb in CHANGES and point.number == 1]
    return [complaint for point in changes for complaint in complaints_at(point, play, store, fault)]


def complaints_at(point: Point, play: Play, store: Path | None, fault: Fault) -> list[str]:
    """Perform a play with one fault, and tell what went wrong."""
    told = f"{play.story.__name__}, {fault} at {point.verb} {point.number} of the {point.process}"
    return [f"{told}: {complaint}" for complaint in perform(play, store, (point, fault))[0]]
