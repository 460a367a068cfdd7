"""Clocks that are set, or that differ: nothing is lost, and nobody is taken for dead who lives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from fake_clock import BEGIN, Time, run_with_fake_clock
from fault_injection import CallLog, faulty_backend
from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.contracts import a_worker
from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

CONFIG: Final = QueueConfig(heartbeat_interval=1.0, heartbeat_timeout=4.0)
HOUR: Final = 3600.0
MINUTES: Final = 300.0

Open = Callable[[float], Awaitable[QueueService]]


@task(name="clocks.work")
async def work() -> None:
    await asyncio.sleep(0.1)  # By the fake clock.


@task(name="clocks.tell_the_time")
async def tell_the_time() -> float:
    return asyncio.get_running_loop().time()


@task(name="clocks.take_long")
async def take_long() -> None:
    await asyncio.sleep(60)  # By the fake clock.


@pytest.fixture(params=["memory", "sqlite"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "lq.db"


@asynccontextmanager
async def processes(time: Time, path: Path | None) -> AsyncGenerator[Open]:
    """Open services as several processes would: on one store, each with a clock that is off by some seconds."""
    shared = InMemoryQueueBackend(CONFIG, clock=time.now)

    def backend(off: float) -> BaseQueueBackend:
        def clock() -> datetime:
            return time.now() + timedelta(seconds=off)

        return SQLiteQueueBackend(CONFIG, settings=SQLiteConfig(path=path), clock=clock) if path else shared

    async with AsyncExitStack() as stack:

        async def process(off: float) -> QueueService:
            inner = backend(off)
            stack.push_async_callback(inner.close)
            through = faulty_backend("process", inner, CONFIG, time=time, call_log=CallLog(), injected=None)
            return await stack.enter_async_context(QueueService(CONFIG, queue_backend=through))

        yield process


@pytest.mark.parametrize("step", [-HOUR, -90.0, 90.0, HOUR])
def test_a_clock_that_is_set_leaves_live_workers_alive(path: Path | None, step: float) -> None:
    async def scenario(time: Time) -> None:
        async with processes(time, path) as process:
            here, there = await process(0), await process(0)
            async with Worker(here) as one, Worker(there) as other:
                sent = await here.enqueue(take_long)
                await asyncio.sleep(5.3)  # By the fake clock.
                time.set_by = step
                await sent.wait(timeout=2 * HOUR)

                assert (sent.record.attempt, sent.record.losses) == (1, 0)
                assert {worker.id for worker in await here.workers()} == {one.worker_id, other.worker_id}

    run_with_fake_clock(scenario)


@pytest.mark.parametrize("step", [-HOUR, -90.0, 90.0, HOUR])
def test_a_clock_that_is_set_does_not_let_the_dead_live(path: Path | None, step: float) -> None:
    async def scenario(time: Time) -> None:
        async with processes(time, path) as process:
            service = await process(0)
            async with Worker(service) as worker:
                await service.queue_backend.register(a_worker("silent"))
                time.set_by = step
                await asyncio.sleep(3 * CONFIG.heartbeat_timeout)  # By the fake clock.

                assert [alive.id for alive in await service.workers()] == [worker.worker_id]

    run_with_fake_clock(scenario)


def test_after_a_step_back_what_is_due_runs_and_what_is_delayed_does_not_run_early(path: Path | None) -> None:
    async def scenario(time: Time) -> None:
        async with processes(time, path) as process:
            service = await process(0)
            async with Worker(service):
                delayed = await service.enqueue(work.using(delay=10))
                time.set_by = -MINUTES
                due = await service.enqueue(work)
                await due.wait(timeout=10)
                await delayed.wait(timeout=HOUR)

            assert due.record.attempt == delayed.record.attempt == 1
            assert delayed.record.started_at is not None
            assert delayed.record.started_at >= delayed.record.scheduled_at

    run_with_fake_clock(scenario)


def test_what_was_due_before_a_step_back_is_due_after_it(path: Path | None) -> None:
    async def scenario(time: Time) -> None:
        async with processes(time, path) as process:
            service = await process(0)
            due = await service.enqueue(work)
            time.set_by = -HOUR
            async with Worker(service):
                await due.wait(timeout=10)

            assert due.record.status is TaskStatus.COMPLETED

    run_with_fake_clock(scenario)


def test_of_two_workers_whose_clocks_differ_neither_loses_a_record_or_starts_it_too_early(tmp_path: Path) -> None:
    async def scenario(time: Time) -> None:
        async with processes(time, tmp_path / "lq.db") as process:
            slow, quick = await process(0), await process(MINUTES)
            sent = [await slow.enqueue(tell_the_time.using(delay=400 + 10 * number)) for number in range(20)]
            async with Worker(slow), Worker(quick):
                begun = [(await one.wait(timeout=HOUR)) for one in sent]

            due = [(one.record.created_at - BEGIN).total_seconds() + 400 + 10 * n for n, one in enumerate(sent)]
            assert {one.record.status for one in sent} == {TaskStatus.COMPLETED}
            assert min(round(start - moment, 3) for start, moment in zip(begun, due, strict=True)) >= -MINUTES

    run_with_fake_clock(scenario)
