"""How many workers the queues need."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from lq_core import ConfigurationError, QueueConfig, QueueService
from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker
from lq_core.foundation.clock import utc_now
from lq_core.queue import DueRecords, Statistics
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.records import lifecycle
from lq_core.records.identity import first_id_of
from lq_core.records.record import TaskStatus
from lq_core.service.demand import demand_of

NUMBERS: Final = count(1)
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """The clock of a queue, which a test sets forward."""

    ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def service(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[QueueService]:
    store = InMemoryQueueBackend(clock=clock)
    if request.param == "sqlite":
        store = SQLiteQueueBackend(settings=SQLiteConfig(path=tmp_path / "lq.db"), clock=clock)
    async with QueueService(QueueConfig(concurrency=10), queue_backend=store) as opened:
        await opened.queue_backend.register(a_worker("ada"))
        yield opened


async def enqueue(service: QueueService, number: int, **changes: Any) -> None:
    """Store records that are due now."""
    at = service.queue_backend.now()
    facts: dict[str, Any] = {"created_at": at, "scheduled_at": at, **changes}
    first = facts["created_at"].timestamp()
    await service.queue_backend.insert(
        [a_record(id=UUID(int=first_id_of(first).int + next(NUMBERS)), **facts) for _ in range(number)]
    )


async def run(service: QueueService, clock: Clock, number: int, *, took: float) -> None:
    """Store records, and let each run for *took* seconds."""
    queue = service.queue_backend
    await enqueue(service, number)
    claimed = await queue.claim(a_claim("ada", limit=number))
    clock.ahead += timedelta(seconds=took)
    await queue.swap([a_swap(lifecycle.complete(each, result="1", at=queue.now())) for each in claimed.records])


def wanted(due: int, *, waited: float, **changes: Any) -> float:
    """Return the slots for one queue with these due records."""
    facts: dict[str, Any] = {"rate": 0.0, "takes": 10.0, "running": 0, "limits": {}, **changes}
    waiting = {"mail": DueRecords(due, NOW - timedelta(seconds=waited))} if due else {}
    statistics = Statistics(counts={"mail": {TaskStatus.RUNNING: facts["running"]}}, due=waiting)
    return demand_of(
        statistics,
        {"mail": facts["rate"]},
        {"mail": facts["takes"]},
        facts["limits"],
        now=NOW,
        target_wait=60,
        slots_per_worker=1,
        queues=["mail"],
    ).slots_wanted


@pytest.mark.parametrize(
    "slots, situation",
    [
        (0, {"due": 0, "waited": 0}),
        (2, {"due": 0, "waited": 0, "rate": 0.2}),
        (10, {"due": 60, "waited": 0}),
        (20, {"due": 60, "waited": 30}),
        (40, {"due": 60, "waited": 1000}),
        (60, {"due": 60, "waited": 0, "takes": 3600}),
        (0.01, {"due": 60, "waited": 0, "takes": 0.01}),
        (12, {"due": 60, "waited": 0, "rate": 0.2}),
        (15, {"due": 60, "waited": 0, "rate": 0.2, "running": 5}),
        (3, {"due": 60, "waited": 0, "limits": {"mail": 3}}),
    ],
)
def test_slots_follow_rate_wait_and_running_time(slots: float, situation: dict[str, Any]) -> None:
    assert wanted(**situation) == pytest.approx(slots)


async def test_an_empty_queue_needs_no_worker(service: QueueService) -> None:
    assert (await service.demand()).workers_wanted == 0


async def test_records_that_have_not_run_yet_are_assumed_to_be_short(service: QueueService) -> None:
    await enqueue(service, 30)

    assert (await service.demand(target_wait=60)).workers_wanted == 1


async def test_the_running_time_of_ended_records_counts_for_those_that_wait(
    service: QueueService, clock: Clock
) -> None:
    await run(service, clock, 5, took=60)
    await enqueue(service, 45)
    demand = await service.demand(target_wait=60, concurrency=5)

    assert demand.seconds_per_record == pytest.approx(60, abs=0.5)
    # 45 slots for what waits, and 50 records in five minutes that take a minute each.
    assert (demand.due, demand.slots_wanted) == (45, pytest.approx(55, abs=0.5))


async def test_in_a_long_backlog_the_running_time_comes_from_what_has_run_lately(
    service: QueueService, clock: Clock
) -> None:
    await run(service, clock, 3, took=30)
    await enqueue(service, 250)

    assert (await service.demand()).seconds_per_record == pytest.approx(30, abs=0.5)


async def test_what_waits_for_its_time_and_paused_queues_need_no_worker(service: QueueService) -> None:
    await enqueue(service, 1, scheduled_at=service.queue_backend.now() + timedelta(hours=1))
    await enqueue(service, 5, queue="paused")
    await service.pause("paused")
    demand = await service.demand()

    assert (demand.workers_wanted, demand.due) == (0, 0)


async def test_only_the_named_queues_count(service: QueueService) -> None:
    await enqueue(service, 1, queue="mail")
    await enqueue(service, 2, queue="reports")

    assert (await service.demand(queues=["reports"])).due == 2


async def test_the_concurrency_limit_of_a_queue_caps_its_slots(service: QueueService, clock: Clock) -> None:
    await run(service, clock, 1, took=600)
    await enqueue(service, 50)
    await service.limit_queue(a_record().queue, concurrency=2)

    assert (await service.demand(concurrency=1)).workers_wanted == 2


async def test_a_burst_is_not_taken_for_a_rate(service: QueueService, clock: Clock) -> None:
    await run(service, clock, 10, took=1)
    await enqueue(service, 1000)
    demand = await service.demand(target_wait=60)

    assert demand.arrivals_per_second <= 20
    assert demand.slots_wanted < 40


@pytest.mark.parametrize(
    "options, complaint",
    [({"target_wait": 0}, "target_wait is 0"), ({"concurrency": 0}, "concurrency is 0")],
)
async def test_wrong_options_are_refused(service: QueueService, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        await service.demand(**options)


async def test_statistics_that_were_read_already_are_not_read_again(service: QueueService) -> None:
    statistics = await service.statistics()
    await enqueue(service, 20)

    assert (await service.demand(statistics=statistics)).due == 0
    assert (await service.demand()).due == 20
