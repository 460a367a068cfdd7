"""A worker that stops, dies or is told that it is dead interrupts what it runs, and this is run again."""

import asyncio
import gc
import threading
from dataclasses import replace

import pytest
from typing_extensions import override

import shop
from lq_core import QueueConfig, QueueService, TaskFailure, TaskStatus, Worker
from lq_core.queue import Statistics
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records import lifecycle


async def test_a_stopping_worker_lets_running_tasks_finish(service: QueueService) -> None:
    gate = shop.new_gate()
    async with Worker(service) as worker:
        sent = await service.enqueue(shop.wait_at_gate)
        await gate.wait_begun()
        worker.stop()
        gate.opened.set()

    assert (await sent.refresh()).status is TaskStatus.COMPLETED
    late = await service.enqueue(shop.add, 1, 1)
    assert (await late.refresh()).status is TaskStatus.PENDING
    assert await service.workers() == []


async def test_what_does_not_finish_in_time_is_interrupted_unspent(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=0.05)) as service:
        gate = shop.new_gate()
        async with Worker(service):
            sent = await service.enqueue(shop.wait_at_gate)
            await gate.wait_begun()

        interrupted = await sent.refresh()
        assert (interrupted.status, interrupted.attempt, interrupted.retry_count) == ("pending", 1, 0)
        assert interrupted.history[-1].event == "interrupted"
        gate.opened.set()
        async with Worker(service):
            assert await sent.wait(timeout=10) == "passed"


async def test_a_worker_in_a_hurry_interrupts_what_runs_without_waiting(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=3600.0)) as service:
        gate = shop.new_gate()
        async with Worker(service) as worker:
            sent = await service.enqueue(shop.wait_at_gate)
            await gate.wait_begun()
            worker.end_now()

        interrupted = await sent.refresh()
        assert (interrupted.status, interrupted.attempt, interrupted.retry_count) == ("pending", 1, 0)


async def test_the_record_of_a_worker_that_went_silent_is_run_by_another(service: QueueService) -> None:
    gate = shop.new_gate()
    silent = asyncio.create_task(Worker(service).run())
    sent = await service.enqueue(shop.wait_at_gate)
    await gate.wait_begun()
    (dead,) = await service.workers()
    await service.queue_backend.retire(dead.id)
    gate.opened.set()

    async with Worker(service):
        assert await sent.wait(timeout=10) == "passed"

    silent.cancel()
    await asyncio.gather(silent, return_exceptions=True)


async def test_a_task_that_breaks_because_it_is_stopped_has_not_failed(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=0.05)) as service:
        gate = shop.new_gate()
        async with Worker(service):
            sent = await service.enqueue(shop.break_when_stopped)
            await gate.wait_begun()

        interrupted = await sent.refresh()
    assert (interrupted.status, interrupted.history[-1].event) == ("pending", "interrupted")


async def test_closing_leaves_behind_a_task_that_does_not_let_itself_be_cancelled_and_says_so(
    config: QueueConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("lq_core.presence.presence.SETTLE_GRACE", 0.05)
    gate = shop.new_gate()
    service = await QueueService(config).open()
    caller = asyncio.create_task(service.enqueue(shop.refuse_to_stop.using(execution_backend="immediate")))
    await gate.wait_begun()

    async with asyncio.timeout(10):
        await service.close()

    assert gate.ended == ["cancelled"]
    assert ["shop.refuse_to_stop"] in [vars(entry).get("tasks") for entry in caplog.records]
    gate.opened.set()
    await asyncio.gather(caller, return_exceptions=True)


async def test_a_worker_that_is_cancelled_twice_interrupts_what_runs_and_signs_off(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=3600.0)) as service:
        gate = shop.new_gate()
        body = asyncio.create_task(Worker(service).run())
        sent = await service.enqueue(shop.wait_at_gate)
        await gate.wait_begun()

        body.cancel()
        await asyncio.sleep(0)
        body.cancel()
        await asyncio.gather(body, return_exceptions=True)

        assert await service.workers() == []
        interrupted = await sent.refresh()
        assert (interrupted.status, interrupted.attempt, interrupted.retry_count) == ("pending", 1, 0)


async def test_a_busy_worker_begins_to_drain_when_it_is_told(config: QueueConfig) -> None:
    async with QueueService(replace(config, poll_interval=60, concurrency=1, shutdown_grace=0.05)) as service:
        gate = shop.new_gate()
        async with asyncio.timeout(10), Worker(service):
            sent = await service.enqueue(shop.wait_at_gate)
            await gate.wait_begun()

        assert (await sent.refresh()).status is TaskStatus.PENDING


async def test_a_worker_that_was_declared_dead_stops_what_it_runs(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.wait_at_gate)
    await gate.wait_begun()
    (dead,) = await service.workers()

    await service.queue_backend.retire(dead.id)

    async with asyncio.timeout(10):
        while not gate.ended:  # noqa: ASYNC110 -- the task tells a gate that threads use too
            await asyncio.sleep(0)
    gate.opened.set()
    assert await sent.wait(timeout=10) == "passed"
    assert gate.ended == ["cancelled", "passed"]


async def test_a_task_whose_progress_report_is_refused_is_stopped(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.report_for_ever)
    await gate.wait_begun()
    running = await sent.refresh()
    failure = TaskFailure(type="WorkerLost", message="somebody thought so")
    lost = lifecycle.lose(running, failure=failure, at=service.queue_backend.now(), delay=3600)

    assert await service.swap(running, lost)

    async with asyncio.timeout(10):
        while not gate.ended:  # noqa: ASYNC110 -- the task tells a gate that threads use too
            await asyncio.sleep(0)
    # Its worker is as alive as before, and the record is what the other one made of it.
    assert [alive.id for alive in await service.workers()] == [worker.worker_id]
    assert (await sent.refresh()).status is TaskStatus.PENDING


async def test_nothing_runs_on_when_service_and_worker_are_closed(config: QueueConfig) -> None:
    async with QueueService(config) as service, Worker(service):
        sent = await service.enqueue(shop.add, 1, 1)
        await sent.wait(timeout=10)
        await service.enqueue(shop.add.using(execution_backend="immediate"), 1, 1)

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lq")] == []


class Unanswering(InMemoryQueueBackend):
    """A database that takes for ever to count its records."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    @override
    async def statistics(self) -> Statistics:
        self.asked.set()
        await asyncio.Event().wait()
        raise NotImplementedError


async def test_a_worker_that_stops_waits_for_no_sweep() -> None:
    queue = Unanswering()
    async with QueueService(queue_backend=queue) as service, asyncio.timeout(10):
        async with Worker(service):
            await queue.asked.wait()

        assert await queue.workers() == []


def test_the_end_of_an_event_loop_ends_a_worker_without_complaint(
    config: QueueConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that leaves during its startup ends its event loop like this."""

    async def serve(started: asyncio.Event) -> None:
        async with QueueService(config) as service, Worker(service):
            started.set()
            await asyncio.Event().wait()

    async def main() -> asyncio.Task[None]:
        started = asyncio.Event()
        serving = asyncio.create_task(serve(started))
        await started.wait()
        return serving

    serving = asyncio.run(main())
    gc.collect()

    assert serving.cancelled()
    assert [entry.getMessage() for entry in caplog.records if entry.name == "asyncio"] == []
