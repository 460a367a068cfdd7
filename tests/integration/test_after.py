"""Records that wait for others: chains, groups with a fan-in, and what a failure does to those behind it."""

from uuid import uuid4

import pytest

import shop
from lq_core import (
    ConfigurationError,
    EnqueueOutcome,
    QueueConfig,
    QueueError,
    QueueService,
    RecordFilter,
    TaskContext,
    TaskFailedError,
    TaskStatus,
    Worker,
    task,
)


@task(name="after.total")
async def total(context: TaskContext) -> int:
    return sum(await context.results(shop.add))


@task(name="after.statuses")
async def statuses(context: TaskContext) -> list[str]:
    return [record.status.value for record in await context.predecessors()]


async def test_a_group_is_followed_by_one_that_has_its_results(service: QueueService, worker: Worker) -> None:
    parts = [shop.add.call(number, number) for number in range(5)]

    *_, last = await service.enqueue_many([*parts, total.using(after=parts).call()])

    assert await last.wait(timeout=10) == 20


async def test_a_chain_runs_in_its_order(service: QueueService, worker: Worker) -> None:
    shop.new_gate()
    first = await service.enqueue(shop.wait_at_gate)
    second = await service.enqueue(statuses.using(after=[first]))
    third = await service.enqueue(statuses.using(after=[first, second.id]))
    await shop.gate.wait_begun()
    waiting = [await second.refresh(), await third.refresh()]
    shop.gate.opened.set()

    assert await third.wait(timeout=10) == ["completed", "completed"]
    assert [(record.status, record.blocked) for record in waiting] == [(TaskStatus.PENDING, True)] * 2


async def test_what_comes_after_a_failure_is_cancelled_all_the_way(service: QueueService, worker: Worker) -> None:
    first = await service.enqueue(shop.refuse)
    second = await service.enqueue(statuses.using(after=[first]))
    third = await service.enqueue(statuses.using(after=[second]))

    with pytest.raises(TaskFailedError, match=f"cancelled.*comes after {second.id}"):
        await third.wait(timeout=10)
    assert (await second.refresh()).attempt == 0


async def test_what_is_to_run_anyway_sees_the_failure(service: QueueService, worker: Worker) -> None:
    first = await service.enqueue(shop.refuse)
    second = await service.enqueue(statuses.using(after=[first], after_failure="run"))

    assert await second.wait(timeout=10) == ["failed"]


async def test_what_comes_after_something_that_has_ended_runs_at_once(service: QueueService, worker: Worker) -> None:
    first = await service.enqueue(shop.add, 1, 2)
    await first.wait(timeout=10)

    last = await service.enqueue(total.using(after=[first]))

    assert await last.wait(timeout=10) == 3


async def test_a_chain_that_is_retried_by_hand_runs_in_its_order(service: QueueService, worker: Worker) -> None:
    first = await service.enqueue(shop.add.using(delay=600), 1, 2)
    second = await service.enqueue(total.using(after=[first]))
    await service.cancel(first.id)
    with pytest.raises(TaskFailedError, match="comes after"):
        await second.wait(timeout=10)

    assert await service.retry_many(RecordFilter(statuses=(TaskStatus.CANCELLED,))) == 2
    assert await second.wait(timeout=10) == 3


async def test_a_blocked_record_can_be_cancelled_and_expires(service: QueueService, worker: Worker) -> None:
    first = await service.enqueue(shop.add.using(delay=600), 1, 2)
    unwanted = await service.enqueue(statuses.using(after=[first]))
    late = await service.enqueue(statuses.using(after=[first], expires_in=0.1))

    assert await service.cancel(unwanted.id)
    with pytest.raises(TaskFailedError, match="expired"):
        await late.wait(timeout=10)


async def test_what_nobody_has_enqueued_cannot_be_waited_for(service: QueueService) -> None:
    stranger = uuid4()

    with pytest.raises(ConfigurationError, match=str(stranger)):
        await service.enqueue(statuses.using(after=[stranger]))
    with pytest.raises(ConfigurationError, match="no such record"):
        await service.enqueue(statuses.using(after=[shop.add.call(1, 2)]))


async def test_a_circle_cannot_be_written(service: QueueService) -> None:
    """A call exists before the one that comes after it, so that only a made-up id could close a circle."""
    first = shop.add.call(1, 2)
    second = shop.add.using(after=[first]).call(3, 4)

    await service.enqueue_many([second, first])

    with pytest.raises(QueueError, match="A call is enqueued once"):
        await service.enqueue_many([first])


async def test_a_call_with_a_key_and_what_comes_after_it_are_enqueued_together(
    service: QueueService, worker: Worker
) -> None:
    first = shop.add.using(key_from=["first"]).call(1, 2)

    last, made = await service.enqueue_many([total.using(after=[first]).call(), first])

    assert (made.created, made.id, last.record.after and last.record.after.ids) == (True, first.id, (first.id,))
    assert await last.wait(timeout=10) == 3


async def test_what_comes_after_a_call_whose_key_is_held_waits_for_the_holder(service: QueueService) -> None:
    holder = await service.enqueue(shop.add.using(key="sum"), 1, 2)
    first, other = shop.add.using(key="sum").call(3, 4), shop.add.call(5, 6)
    second = total.using(after=[first, other], key="total").call()

    found, *_, last = await service.enqueue_many([first, other, second, total.using(after=[second]).call()])

    (waiting,) = await service.find(RecordFilter(key="total"))
    assert (found.id, found.created) == (holder.id, False)
    assert waiting.after is not None
    assert waiting.after.ids == (holder.id, other.id)
    async with Worker(service):
        assert (await service.wait(waiting.id, timeout=10)).result == "14"
        assert await last.wait(timeout=10) == 0


async def test_a_key_that_is_twice_in_a_chain_closes_no_circle(service: QueueService, worker: Worker) -> None:
    """The last call finds the key held by the first one, whatever the order in which they are given."""
    first = shop.add.using(key="sum").call(1, 2)
    second = total.using(after=[first]).call()
    third = shop.add.using(key="sum", after=[second]).call(3, 4)
    fourth = total.using(after=[third]).call()

    last, found, _, made = await service.enqueue_many([fourth, third, second, first])

    assert (made.created, found.created, found.id) == (True, False, first.id)
    assert await last.wait(timeout=10) == 3


async def test_a_call_that_replaces_the_holder_of_its_key_is_followed_by_what_comes_after_it(
    service: QueueService,
) -> None:
    holder = await service.enqueue(shop.add.using(key="sum", delay=0.01), 1, 2)
    first = shop.add.using(key="sum", on_conflict="replace").call(3, 4)

    made, last = await service.enqueue_many([first, total.using(after=[first]).call()])

    assert (made.id, made.outcome) == (holder.id, EnqueueOutcome.REPLACED)
    async with Worker(service):
        assert await last.wait(timeout=10) == 7


async def test_a_chain_with_a_key_is_stored_as_a_whole_or_not_at_all(service: QueueService) -> None:
    known = await service.enqueue(shop.add, 1, 2)
    first = shop.add.using(key="sum").call(1, 2)
    second = total.using(after=[first]).call()
    second._id = known.id  # pyright: ignore[reportPrivateUsage] -- only so can the second wave be refused

    with pytest.raises(QueueError, match="stored already"):
        await service.enqueue_many([first, second])

    assert [record.id for record in await service.find()] == [known.id]


async def test_a_call_whose_key_was_held_cannot_be_named_later(service: QueueService) -> None:
    await service.enqueue(shop.add.using(key="sum"), 1, 2)
    first = shop.add.using(key="sum").call(3, 4)
    second = total.using(after=[first])
    await service.enqueue_many([first])

    with pytest.raises(ConfigurationError, match="name its result"):
        await service.enqueue(second)


@pytest.mark.parametrize("after", ["first", [1], 7])
async def test_what_is_no_record_cannot_be_waited_for(after: object) -> None:
    with pytest.raises(ConfigurationError, match="after"):
        statuses.using(after=after)  # pyright: ignore[reportArgumentType] -- the mistake is the test


async def test_another_process_lets_go_what_waited(service: QueueService, config: QueueConfig) -> None:
    """Whoever enqueued it need not be there any more."""
    first = await service.enqueue(shop.add, 1, 2)
    last = await service.enqueue(total.using(after=[first]))
    own = service if config.queue_backend == "memory" else QueueService(config)

    async with own, Worker(own):
        assert (await own.wait(last.id, timeout=10)).result == "3"
