"""Scenarios: the steps of a client of a queue that has a worker."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from fake_clock import Time
from fault_injection import SILENT
from lq_core import (
    Backoff,
    ExternalExecutionBackend,
    NonRetryable,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    RetryLater,
    TaskContext,
    TaskFailure,
    TaskResult,
    TaskStatus,
    Worker,
    execution_backend,
    task,
)
from lq_core.contracts import a_record, a_worker
from lq_core.execution import ExecutionService
from lq_core.foundation.errors import StorageError
from lq_core.records import lifecycle

Answer = TypeVar("Answer")

SOON: Final = Backoff(base=0.5, jitter=0)


@task(name="scenarios.work")
async def work() -> None:
    await asyncio.sleep(0.1)  # By the fake clock.


@task(name="scenarios.stumble", retries=1, backoff=SOON)
async def stumble(context: TaskContext) -> None:
    if context.record.retry_count == 0:
        raise ValueError("stumbled")


@task(name="scenarios.give_up")
async def give_up(context: TaskContext) -> None:
    if not any(entry.event == "retried_by_hand" for entry in context.record.history):
        raise NonRetryable("never")


@task(name="scenarios.come_later")
async def come_later(context: TaskContext) -> None:
    if not any(entry.event == "snoozed" for entry in context.record.history):
        raise RetryLater(0.5)


@task(name="scenarios.report")
async def report(context: TaskContext) -> None:
    await context.progress(1, 2)
    await asyncio.sleep(1)  # By the fake clock.
    await context.progress(2, 2)


@task(name="scenarios.linger")
async def linger(context: TaskContext) -> None:
    await asyncio.sleep(20 if context.attempt == 1 else 0.1)  # By the fake clock.


@execution_backend("scenarios-elsewhere")
class Elsewhere(ExternalExecutionBackend):
    """Releases a record at first, and then claims it by id and epoch, as another process would."""

    reconcile_interval = 2.0

    def __init__(self, config: QueueConfig | None = None) -> None:
        super().__init__(config)
        self._under_way = set[tuple[UUID, int]]()

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        if not any(entry.event == "released" for entry in record.history):
            released = lifecycle.release(record, at=service.queue_backend.now(), delay=0.5, message="no quota")
            await service.swap(record, released)
            return released
        self._under_way.add((record.id, record.epoch))
        try:
            return await service.execute_record(record)
        finally:
            self._under_way.discard((record.id, record.epoch))

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        age = (service.queue_backend.now() - (record.started_at or record.created_at)).total_seconds()
        if record.status is TaskStatus.RUNNING or (record.id, record.epoch) in self._under_way or age < 2:
            return None
        failure = TaskFailure(type="NotThere", message="no process runs it")
        lost = lifecycle.lose(record, failure=failure, at=service.queue_backend.now())
        return lost if await service.swap(record, lost) else None

    async def dispatch(self, service: ExecutionService, record: QueuedTaskRecord) -> str | None:
        return None

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        return False

    async def capacity(self, service: ExecutionService) -> int:
        return 10


@dataclass
class ScenarioContext:
    """The parts that a scenario uses."""

    time: Time
    service: QueueService
    """The client's."""

    first: Worker

    async def enqueue(self, what: Callable[[], Awaitable[TaskResult[None]]]) -> UUID:
        """Enqueue, with one retry."""
        return (await with_one_retry(what)).id

    async def until(self, record_id: UUID, *statuses: TaskStatus) -> None:
        """Poll until the record has one of these statuses."""
        while await self._is_outside(record_id, statuses):  # noqa: ASYNC110 -- a client has no event for this
            await asyncio.sleep(0.1)  # By the fake clock.

    async def _is_outside(self, record_id: UUID, statuses: tuple[TaskStatus, ...]) -> bool:
        record = await with_one_retry(lambda: self.service.get(record_id))
        return record is not None and record.status not in statuses


async def with_one_retry(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Retry once if the database is not available for a moment, as a client does."""
    try:
        return await call()
    except StorageError:
        await asyncio.sleep(0.1)  # By the fake clock.
        return await call()


async def completes(context: ScenarioContext) -> None:
    await context.enqueue(lambda: context.service.enqueue(work.using(key="one")))


async def retries(context: ScenarioContext) -> None:
    await context.enqueue(lambda: context.service.enqueue(stumble.using(key="one")))


async def comes_later(context: ScenarioContext) -> None:
    await context.enqueue(lambda: context.service.enqueue(come_later.using(key="one")))


async def reports(context: ScenarioContext) -> None:
    await context.enqueue(lambda: context.service.enqueue(report.using(key="one")))


async def is_interrupted(context: ScenarioContext) -> None:
    lingering = await context.enqueue(lambda: context.service.enqueue(linger.using(key="one")))
    await context.until(lingering, TaskStatus.RUNNING, TaskStatus.COMPLETED)
    context.first.stop()


async def is_cancelled_while_it_runs(context: ScenarioContext) -> None:
    lingering = await context.enqueue(lambda: context.service.enqueue(linger.using(key="one")))
    await context.until(lingering, TaskStatus.RUNNING, TaskStatus.COMPLETED)
    await with_one_retry(lambda: context.service.cancel(lingering))


async def is_cancelled_while_it_waits(context: ScenarioContext) -> None:
    waiting = await context.enqueue(lambda: context.service.enqueue(work.using(key="one", delay=5)))
    await with_one_retry(lambda: context.service.cancel(waiting))


async def expires(context: ScenarioContext) -> None:
    await with_one_retry(lambda: context.service.pause("closed"))
    await context.enqueue(lambda: context.service.enqueue(work.using(key="one", queue="closed", expires_in=1)))


async def is_retried_by_hand(context: ScenarioContext) -> None:
    refused = await context.enqueue(lambda: context.service.enqueue(give_up.using(key="one")))
    await context.until(refused, TaskStatus.FAILED)
    await retry_by_hand(context, refused)


async def retry_by_hand(context: ScenarioContext, refused: UUID) -> None:
    try:
        await context.service.retry(refused)
    except StorageError:
        await asyncio.sleep(0.1)  # By the fake clock.
        if (record := await context.service.get(refused)) and record.status is TaskStatus.FAILED:
            await context.service.retry(refused)


async def runs_elsewhere(context: ScenarioContext) -> None:
    await context.enqueue(
        lambda: context.service.enqueue(work.using(key="one", execution_backend="scenarios-elsewhere"))
    )


async def comes_after_another(context: ScenarioContext) -> None:
    first = await context.enqueue(lambda: context.service.enqueue(work.using(key="one")))
    await context.enqueue(lambda: context.service.enqueue(work.using(key="two", after=(first,))))


async def shares_a_limit(context: ScenarioContext) -> None:
    limited = work.using(concurrency_key="limit", concurrency=1)
    await context.enqueue(lambda: context.service.enqueue(limited.using(key="one")))
    await context.enqueue(lambda: context.service.enqueue(limited.using(key="two")))


async def runs_inline(context: ScenarioContext) -> None:
    await context.enqueue(lambda: context.service.enqueue(work.using(key="one", execution_backend="immediate")))


async def is_held_by_a_dead_worker(context: ScenarioContext) -> None:
    """A worker that sends no heartbeat holds the record."""
    backend = context.service.queue_backend
    record = a_record(task_name=work.name, created_at=context.time.now(), scheduled_at=context.time.now())
    await with_one_retry(lambda: backend.register(a_worker(SILENT)))
    left = lifecycle.claim(record, worker_id=SILENT, at=context.time.now())
    try:
        await backend.insert([left])
    except StorageError:
        if await backend.get(left.id) is None:
            await backend.insert([left])


class Scenario(NamedTuple):
    """The steps of a client, and how its records must end."""

    steps: Callable[[ScenarioContext], Coroutine[Any, Any, None]]
    end: TaskStatus = TaskStatus.COMPLETED
    starts: int = 1
    """How often the record starts if nothing fails."""

    ends: int = 1
    """How often the record ends; a retry by hand adds one."""


SCENARIOS: Final = (
    Scenario(completes),
    Scenario(retries, starts=2),
    Scenario(comes_later, starts=2),
    Scenario(reports),
    Scenario(is_interrupted, starts=2),
    Scenario(is_cancelled_while_it_runs, end=TaskStatus.CANCELLED),
    Scenario(is_cancelled_while_it_waits, end=TaskStatus.CANCELLED, starts=0),
    Scenario(expires, end=TaskStatus.EXPIRED, starts=0),
    Scenario(is_retried_by_hand, starts=2, ends=2),
    Scenario(runs_elsewhere),
    Scenario(runs_inline),
    Scenario(comes_after_another),
    Scenario(shares_a_limit),
    Scenario(is_held_by_a_dead_worker),
)
