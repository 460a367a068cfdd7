"""One owner of records: it stops what it runs, releases what it does not hold, and leaves everything else alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from typing_extensions import override

import shop
from fake_clock import Time, run_with_fake_clock
from fault_injection import CallLog, Fault, Point, faulty_backend
from lq_core import QueueConfig, QueuedTaskRecord, QueueService, StorageError, TaskStatus, Worker, task
from lq_core.attempts.attempt import StopReason
from lq_core.contracts import a_claim
from lq_core.presence.presence import Presence
from lq_core.queue import Claim, Claimed, Swap
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

CONFIG = QueueConfig(heartbeat_interval=1.0, heartbeat_timeout=3.0, poll_interval=0.5)


@task(name="presence.work")
async def work() -> None:
    """Do nothing."""


async def claimed(service: QueueService, presence: Presence) -> QueuedTaskRecord:
    """Enqueue a task that waits at its gate, and claim it."""
    sent = await service.enqueue(shop.wait_at_gate)
    await presence.start()
    return await presence.claim_one(sent.record)


async def test_a_presence_stops_what_it_runs_and_the_records_say_why(service: QueueService) -> None:
    gate, presence = shop.new_gate(), service.new_presence()
    execution = presence.execute(await claimed(service, presence), presence.run)
    await gate.wait_begun()

    presence.stop(StopReason.CANCELLED)

    ended = await execution
    assert ended is not None
    assert (ended.status, gate.ended) == (TaskStatus.CANCELLED, ["cancelled"])
    assert presence.held == frozenset()


async def test_a_presence_lets_go_of_a_held_record_when_it_has_run(service: QueueService) -> None:
    gate, presence = shop.new_gate(), service.new_presence()
    gate.opened.set()
    record = await claimed(service, presence)
    presence.hold(record)

    await presence.execute(record, presence.run)

    assert presence.held == frozenset()
    assert await presence.wait_idle(0)


async def test_two_presences_in_one_process_do_not_touch_each_others_records(service: QueueService) -> None:
    gate, ada, bob = shop.new_gate(), service.new_presence(), service.new_presence()
    hers, his = await claimed(service, ada), await claimed(service, bob)
    executions = [ada.execute(hers, ada.run), bob.execute(his, bob.run)]
    await gate.wait_begun()

    await ada.close()
    gate.opened.set()
    stopped, completed = await asyncio.gather(*executions)

    assert stopped is not None
    assert completed is not None
    assert (stopped.status, completed.status) == (TaskStatus.PENDING, TaskStatus.COMPLETED)
    assert [worker.id for worker in await service.workers()] == [bob.worker_id]


async def test_a_presence_that_lapsed_runs_and_stops_records_under_its_new_id(service: QueueService) -> None:
    gate, presence = shop.new_gate(), service.new_presence()
    await presence.start()
    lapsed = presence.worker_id
    await service.queue_backend.retire(lapsed)
    await presence.beat()
    record = await claimed(service, presence)
    running = presence.execute(record, lambda record: service.execute_record(record, worker_id=record.worker_id))
    await gate.wait_begun()

    assert record.worker_id == presence.worker_id != lapsed
    assert presence.running() == [shop.wait_at_gate.name]
    await presence.close()

    released = await running
    assert released is not None
    assert (released.status, released.attempt, gate.ended) == (TaskStatus.PENDING, 1, ["cancelled"])
    assert service.running() == []


def test_a_record_whose_claim_was_not_answered_is_released_unspent(tmp_path: Path) -> None:
    async def scenario(time: Time) -> tuple[QueuedTaskRecord, float]:
        inner = SQLiteQueueBackend(CONFIG, settings=SQLiteConfig(path=tmp_path / "lq.db"), clock=time.now)
        injected = (Point("worker", "claim", 1), Fault.UNANSWERED)
        backend = faulty_backend("worker", inner, CONFIG, time=time, call_log=CallLog(), injected=injected)
        async with QueueService(CONFIG, queue_backend=backend) as service:
            sent = await service.enqueue(work)
            presence = service.new_presence(execution_backends=("local",))
            await presence.start()
            with pytest.raises(StorageError):
                await presence.claim(a_claim(presence.worker_id))
            while (ended := await sent.refresh()).status is TaskStatus.RUNNING:  # noqa: ASYNC110 -- a store has no event for this
                await asyncio.sleep(0.1)  # By the fake clock.
        await inner.close()
        return ended, time.passed

    ended, passed = run_with_fake_clock(scenario)

    assert (ended.status, ended.attempt, ended.retry_count, ended.losses) == ("pending", 1, 0, 0)
    assert [entry.message for entry in ended.history] == ["the answer to its claim was lost"]
    assert passed < CONFIG.heartbeat_timeout / 2


class SlowToAnswer(InMemoryQueueBackend):
    """A database whose answer to a claim takes its time."""

    @override
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        answers = await super().settle_and_claim(swaps, claim)
        if answers[1].records:
            await asyncio.sleep(4 * CONFIG.heartbeat_timeout)  # By a clock that leaps.
        return answers


def test_a_record_whose_claim_is_still_to_be_answered_is_left_alone() -> None:
    async def scenario(time: Time) -> QueuedTaskRecord:
        queue = SlowToAnswer(CONFIG, clock=time.now)
        async with QueueService(CONFIG, queue_backend=queue) as service, Worker(service):
            sent = await service.enqueue(work)
            await sent.wait(timeout=60)
            return await sent.refresh()

    ended = run_with_fake_clock(scenario)

    assert (ended.status, ended.attempt, ended.history) == ("completed", 1, ())


class RefusesOutcomes(InMemoryQueueBackend):
    """A database that cannot keep what a first attempt ends with."""

    @override
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        if any(swap.record.has_ended and swap.record.attempt == 1 for swap in swaps):
            raise ValueError("this cannot be stored")
        return await super().settle_and_claim(swaps, claim)


def test_a_record_whose_outcome_could_not_be_recorded_is_lost_and_runs_again() -> None:
    async def scenario(time: Time) -> QueuedTaskRecord:
        queue = RefusesOutcomes(CONFIG, clock=time.now)
        async with QueueService(CONFIG, queue_backend=queue) as service, Worker(service):
            sent = await service.enqueue(work)
            await sent.wait(timeout=60)
            return await sent.refresh()

    ended = run_with_fake_clock(scenario)

    assert (ended.status, ended.attempt, ended.retry_count, ended.losses) == ("completed", 2, 0, 1)
    assert [entry.failure and entry.failure.type for entry in ended.history] == ["OutcomeNotRecorded"]


class LosesOneAnswer(InMemoryQueueBackend):
    """A database that does not answer the claim of one record of ``presence.work``."""

    is_lost = False

    @override
    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        answers = await super().settle_and_claim(swaps, claim)
        if not self.is_lost and any(record.task_name == work.name for record in answers[1].records):
            self.is_lost = True
            raise StorageError("The database did not answer.")
        return answers


async def test_a_running_task_is_not_released_with_a_record_whose_claim_was_not_answered() -> None:
    gate, backend = shop.new_gate(), LosesOneAnswer(CONFIG)
    async with QueueService(CONFIG, queue_backend=backend) as service, Worker(service):
        running = await service.enqueue(shop.wait_at_gate)
        await gate.wait_begun()
        mislaid = await service.enqueue(work)

        await mislaid.wait(timeout=20)
        gate.opened.set()

        assert await running.wait(timeout=10) == "passed"
    assert backend.is_lost
    assert (mislaid.record.attempt, mislaid.record.losses) == (2, 0)
    assert (running.record.attempt, running.record.losses) == (1, 0)
