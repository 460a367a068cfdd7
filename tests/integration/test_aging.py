"""Records that wait for long get higher priorities, on every queue backend, if the configuration asks for it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as changed

from lq_core import INJECTED, QueueConfig, QueuedTaskRecord, QueueService, Worker, task
from lq_core.contracts import a_claim, a_record, a_swap, a_worker
from lq_core.foundation.validation import LARGEST_NUMBER
from lq_core.records import lifecycle
from lq_core.records.record import FAIRNESS_KEY, Dependencies, KeyScope
from lq_core.records.waiting import NOMINAL_PRIORITY, aged
from lq_core.worker.aging import PAGE, Aging

MINUTE = timedelta(minutes=1)


def a_sweep(service: QueueService, *, config: QueueConfig | None = None) -> Aging:
    """A sweep that gives one priority for each minute."""
    service = QueueService(config or service.config, queue_backend=service.queue_backend)
    return Aging(service, execution_backends=("local",), aging=60)


def waiting(service: QueueService, by: timedelta, **changes: object) -> QueuedTaskRecord:
    """A record that was enqueued so long ago."""
    at = service.queue_backend.now() - by
    return changed(a_record(), created_at=at, scheduled_at=at, **changes)


async def stored(service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
    kept = await service.get(record.id)
    assert kept is not None
    return kept


async def test_a_record_that_has_waited_is_claimed_before_a_new_one_of_a_higher_priority(service: QueueService) -> None:
    queue, old = service.queue_backend, waiting(service, 3.5 * MINUTE)
    high, higher = a_record(priority=2), a_record(priority=4)
    await queue.insert([high, higher, old])

    await a_sweep(service).step()

    await queue.register(a_worker())
    claims = [await queue.claim(a_claim(limit=1)) for _ in range(3)]
    assert [claim.records[0].id for claim in claims] == [higher.id, old.id, high.id]


async def test_it_gets_one_priority_for_each_step_and_keeps_its_nominal_one(service: QueueService) -> None:
    record = waiting(service, 2.5 * MINUTE, priority=-1, metadata={"trace": "7"})
    await service.queue_backend.insert([record])
    sweep = a_sweep(service)

    await sweep.step()
    first = await stored(service, record)
    await sweep.step()

    metadata = {"trace": "7", NOMINAL_PRIORITY: "-1"}
    assert first == changed(record, priority=1, metadata=metadata, epoch=1)
    assert await stored(service, record) == first


async def test_a_priority_is_computed_from_the_nominal_one(service: QueueService) -> None:
    """So that sweeps of many workers, one after another, give no more than one."""
    record = waiting(service, 5.5 * MINUTE, priority=2, metadata={NOMINAL_PRIORITY: "0"})
    await service.queue_backend.insert([record])

    await a_sweep(service).step()
    await a_sweep(service).step()

    assert (await stored(service, record)).priority == 5


async def test_no_priority_is_larger_than_what_a_database_takes(service: QueueService) -> None:
    record = waiting(service, 5 * MINUTE, priority=LARGEST_NUMBER - 1)
    await service.queue_backend.insert([record])

    await a_sweep(service).step()

    assert (await stored(service, record)).priority == LARGEST_NUMBER


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"scheduled_at": timedelta(hours=1)}, id="delayed"),
        pytest.param({"scheduled_at": -0.5 * MINUTE}, id="due for less than a step"),
        pytest.param({"expires_at": -MINUTE}, id="overdue"),
        pytest.param({"execution_backend": "elsewhere"}, id="of an execution backend that this worker does not serve"),
    ],
)
async def test_a_record_that_does_not_wait_for_this_worker_stays(
    service: QueueService, changes: dict[str, object]
) -> None:
    now = service.queue_backend.now()
    moments = {name: now + value if isinstance(value, timedelta) else value for name, value in changes.items()}
    record = changed(waiting(service, 5 * MINUTE), **moments)
    await service.queue_backend.insert([record])

    await a_sweep(service).step()

    assert await stored(service, record) == record


async def test_a_record_that_waits_for_its_predecessor_stays(service: QueueService) -> None:
    first = a_record(delay=60)
    second = waiting(service, 5 * MINUTE, after=Dependencies(ids=(first.id,)), blocked=True)
    await service.queue_backend.insert([first, second])

    await a_sweep(service).step()

    assert await stored(service, second) == second


async def test_only_records_of_the_queues_of_the_worker_age(service: QueueService) -> None:
    mail, film = (waiting(service, 2 * MINUTE, queue=queue) for queue in ("mail", "film"))
    await service.queue_backend.insert([mail, film])

    await a_sweep(service, config=replace(service.config, queues=("mail",))).step()

    assert [(await stored(service, each)).priority for each in (mail, film)] == [2, 0]


async def test_a_retry_has_its_nominal_priority_while_it_waits(service: QueueService) -> None:
    queue, record = service.queue_backend, waiting(service, 5 * MINUTE, key="one", key_scope=KeyScope.STARTED)
    await queue.insert([record])
    await a_sweep(service).step()
    await queue.register(a_worker())
    [started] = (await queue.claim(a_claim())).records
    later = lifecycle.snooze(started, delay=60, at=queue.now())
    await queue.swap([a_swap(later)])

    await a_sweep(service).step()

    assert started.priority == 5
    assert await stored(service, record) == changed(later, priority=0, epoch=later.epoch + 1)


async def test_a_record_that_is_claimed_after_the_sweep_has_read_it_is_left_alone(service: QueueService) -> None:
    queue, record = service.queue_backend, waiting(service, 5 * MINUTE)
    await queue.insert([record])
    after = aged(record, step=MINUTE, at=queue.now())
    assert after is not None

    await queue.register(a_worker())
    [started] = (await queue.claim(a_claim())).records

    assert await queue.amend_many([a_swap(after)]) == [False]
    assert await stored(service, record) == started


async def test_a_record_with_a_fairness_key_keeps_its_turn(service: QueueService) -> None:
    """And it does not count as waiting since its turn, which may be earlier than the record."""
    queue = service.queue_backend
    large = [waiting(service, 10 * MINUTE, metadata={FAIRNESS_KEY: "large"}) for _ in range(2)]
    small = [waiting(service, 2.5 * MINUTE, metadata={FAIRNESS_KEY: "small"}) for _ in range(2)]
    await queue.insert(large)
    await queue.insert(small)
    turns = [(await stored(service, each)).scheduled_at for each in (*large, *small)]

    await a_sweep(service).step()

    kept = [await stored(service, each) for each in (*large, *small)]
    assert [each.priority for each in kept] == [10, 10, 2, 2]
    assert [each.scheduled_at for each in kept] == turns
    await queue.insert([waiting(service, MINUTE, priority=2, metadata={FAIRNESS_KEY: "new"})])
    await queue.register(a_worker())
    claims = [await queue.claim(a_claim(limit=1)) for _ in range(5)]
    assert [claim.records[0].fairness_key for claim in claims] == ["large", "large", "small", "new", "small"]


async def test_a_sweep_goes_on_where_it_ended_and_then_from_the_start(service: QueueService) -> None:
    queue, sweep = service.queue_backend, a_sweep(service)
    late, *records = (waiting(service, 5 * MINUTE) for _ in range(PAGE + 2))
    await queue.insert(records)

    async def are_aged() -> list[bool]:
        kept = {each.id: each for each in await queue.get_many([each.id for each in (late, *records)])}
        return [each.id in kept and kept[each.id].priority == 5 for each in (late, *records)]

    await sweep.step()
    assert await are_aged() == [False, *[True] * PAGE, False]
    await queue.insert([late])
    await sweep.step()
    assert await are_aged() == [False, *[True] * PAGE, True]
    await sweep.step()
    assert await are_aged() == [True] * (PAGE + 2)


# ------------------------------------------------------------ workers

started: list[str] = []


@task(name="aging.low")
async def low() -> None:
    started.append("low")


@task(name="aging.high", priority=1)
async def high(left: int, queue: QueueService = INJECTED) -> None:
    """Enqueue the next one before this one ends, so that one is always due while the low one waits."""
    started.append("high")
    if left and "low" not in started:
        await queue.enqueue(high, left - 1)


async def place_of_low(config: QueueConfig, *, stream: int) -> int:
    """Run a stream of high records, and a low one that has waited for ten minutes; how many start before that one?"""
    started.clear()
    async with QueueService(replace(config, concurrency=1)) as service:
        await service.enqueue(high, stream)
        record = service.record_of(low.call(), at=service.queue_backend.now() - 10 * MINUTE)
        await service.queue_backend.insert([record])
        async with Worker(service):
            await service.wait(record.id, timeout=60)
    return started.index("low")


async def test_a_low_record_starts_beside_a_stream_of_higher_ones(config: QueueConfig) -> None:
    assert await place_of_low(replace(config, priority_aging=MINUTE), stream=100_000) < 100_000


async def test_without_aging_a_low_record_waits_for_the_end_of_the_stream(config: QueueConfig) -> None:
    assert await place_of_low(config, stream=50) == 51
