"""Cancelling, draining, crashing: every record ends, and what was interrupted is run again."""

import asyncio
import gc
import threading
from dataclasses import replace

import pytest
from typing_extensions import override

import shop
from lq_core import (
    IllegalMoveError,
    QueueConfig,
    QueueService,
    RecordNotFoundError,
    TaskFailedError,
    TaskFailure,
    TaskResult,
    TaskStatus,
    Worker,
)
from lq_core.queue import Statistics
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.records import lifecycle
from lq_core.records.identity import new_id


async def until_running(sent: TaskResult[None]) -> None:
    """Look again and again: another thread starts it."""
    async with asyncio.timeout(10):
        while (await sent.refresh()).status is not TaskStatus.RUNNING:  # noqa: ASYNC110 -- another process could start it
            await asyncio.sleep(0)


async def test_a_waiting_record_is_cancelled_at_once(service: QueueService) -> None:
    sent = await service.enqueue(shop.add, 1, 1)

    assert await service.cancel(sent.id)
    assert (await sent.refresh()).status is TaskStatus.CANCELLED
    assert not await service.cancel(sent.id)


async def test_a_running_task_is_cancelled_and_recorded(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.wait_at_gate)
    await gate.wait_begun()

    assert await service.cancel(sent.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await sent.wait(timeout=10)
    assert gate.ended == ["cancelled"]


async def test_a_plain_function_learns_of_its_cancellation(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.linger_in_thread.using(timeout=60))
    await until_running(sent)

    assert await service.cancel(sent.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await sent.wait(timeout=10)


async def test_a_running_task_is_cancelled_from_another_service(config: QueueConfig) -> None:
    async with QueueService(config) as here:
        backend = here.queue_backend if config.queue_backend == "memory" else None
        there = QueueService(config, queue_backend=backend)
        async with there, Worker(here):
            gate = shop.new_gate()
            sent = await here.enqueue(shop.wait_at_gate)
            await gate.wait_begun()

            assert await there.cancel(sent.id)
            with pytest.raises(TaskFailedError, match="cancelled"):
                await sent.wait(timeout=10)


async def test_cancelling_an_unknown_record_says_so(service: QueueService) -> None:
    with pytest.raises(RecordNotFoundError):
        await service.cancel(new_id())


async def test_a_failed_record_is_retried_by_hand(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.stumble.using(retries=0), 1)
    with pytest.raises(TaskFailedError):
        await sent.wait(timeout=10)

    await service.retry(sent.id)

    with pytest.raises(TaskFailedError):
        await sent.wait(timeout=10)
    assert (await sent.refresh()).attempt == 2


async def test_a_completed_record_is_not_retried(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add, 1, 1)
    await sent.wait(timeout=10)

    with pytest.raises(IllegalMoveError, match="it has completed"):
        await service.retry(sent.id)


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


async def test_an_immediate_call_whose_caller_goes_away_is_interrupted(service: QueueService) -> None:
    gate = shop.new_gate()
    caller = asyncio.create_task(service.enqueue(shop.wait_at_gate.using(execution_backend="immediate")))
    await gate.wait_begun()
    (record,) = await service.find()

    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller

    stored = await service.get(record.id)
    assert stored is not None
    assert (stored.status, stored.retry_count) == ("pending", 0)


async def test_a_task_that_breaks_because_it_is_stopped_has_not_failed(config: QueueConfig) -> None:
    async with QueueService(replace(config, shutdown_grace=0.05)) as service:
        gate = shop.new_gate()
        async with Worker(service):
            sent = await service.enqueue(shop.break_when_stopped)
            await gate.wait_begun()

        interrupted = await sent.refresh()
    assert (interrupted.status, interrupted.history[-1].event) == ("pending", "interrupted")


async def test_an_immediate_call_that_ends_well_when_it_is_cancelled_does_not_cancel_its_caller(
    service: QueueService,
) -> None:
    gate = shop.new_gate()
    caller = asyncio.create_task(service.enqueue(shop.end_when_stopped.using(execution_backend="immediate")))
    await gate.wait_begun()
    (record,) = await service.find()

    assert await service.cancel(record.id)

    assert await (await caller).wait(timeout=10) == "half of it"
    assert caller.cancelling() == 0


async def test_an_immediate_call_may_be_made_while_its_caller_is_being_cancelled(service: QueueService) -> None:
    async def clean_up() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await (await service.enqueue(shop.add.using(execution_backend="immediate"), 1, 1)).wait(timeout=10)
        return 0

    caller = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    caller.cancel()

    assert await caller == 2


async def test_of_immediate_calls_whose_caller_goes_away_none_is_kept(service: QueueService) -> None:
    gate = shop.new_gate()
    waiting = shop.wait_at_gate.using(execution_backend="immediate")
    caller = asyncio.create_task(service.enqueue_many([waiting.call(), waiting.call()]))
    await gate.wait_begun()

    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)

    assert [record.status for record in await service.find()] == [TaskStatus.PENDING, TaskStatus.PENDING]


async def test_a_task_called_inside_a_cancelled_one_is_interrupted(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    outer = await service.enqueue(shop.wait_inside, shop.offer(service))
    await gate.wait_begun()

    assert await service.cancel(outer.id)
    with pytest.raises(TaskFailedError, match="cancelled"):
        await outer.wait(timeout=10)
    gate.opened.set()

    (inner,) = [record for record in await service.find() if record.task_name == "shop.wait_at_gate"]
    assert (await service.wait(inner.id, timeout=10)).retry_count == 0


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
