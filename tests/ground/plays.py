"""Small stories of a record, as a client tells them to a queue with a worker."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, TypeVar
from uuid import UUID

from leaping import Time
from lq_core import (
    Backoff,
    BaseExecutionBackend,
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
    lifecycle,
    task,
)
from lq_core.errors import StorageError
from lq_core.execution import ExecutionService
from lq_core.testing import a_record, a_worker
from troubled import SILENT

Answer = TypeVar("Answer")

SOON: Final = Backoff(base=0.5, jitter=0)


@task(name="plays.work")
async def work() -> None:
    await asyncio.sleep(0.1)  # By a clock that leaps.


@task(name="plays.stumble", retries=1, backoff=SOON)
async def stumble(context: TaskContext) -> None:
    if context.record.retry_count == 0:
        raise ValueError("stumbled")


@task(name="plays.give_up")
async def give_up(context: TaskContext) -> None:
    if not any(entry.event == "revived" for entry in context.record.history):
        raise NonRetryable("never")


@task(name="plays.come_later")
async def come_later(context: TaskContext) -> None:
    if not any(entry.event == "snoozed" for entry in context.record.history):
        raise RetryLater(0.5)


@task(name="plays.report")
async def report(context: TaskContext) -> None:
    await context.progress(1, 2)
    await asyncio.sleep(1)  # By a clock that leaps.
    await context.progress(2, 2)


@task(name="plays.linger")
async def linger(context: TaskContext) -> None:
    await asyncio.sleep(20 if context.attempt == 1 else 0.1)  # By a clock that leaps.


@execution_backend("plays-elsewhere")
class Elsewhere(BaseExecutionBackend):
    """Refuses a record at first, and then runs it as another process would: it claims it by id and epoch."""

    external: ClassVar[bool] = True
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
        failure = TaskFailure(type="NotThere", message="nobody runs it")
        lost = lifecycle.lose(record, failure=failure, at=service.queue_backend.now())
        return lost if await service.swap(record, lost) else None


@dataclass
class Stage:
    """Where a play is played."""

    time: Time
    service: QueueService
    """The client's."""

    first: Worker

    async def enqueue(self, what: Callable[[], Awaitable[TaskResult[None]]]) -> UUID:
        """Enqueue, again if the database was away."""
        return (await persistently(what)).id

    async def until(self, record_id: UUID, *statuses: TaskStatus) -> None:
        """Look until the record is in one of these."""
        while await self._is_outside(record_id, statuses):  # noqa: ASYNC110 -- a client has no event for this
            await asyncio.sleep(0.1)  # By a clock that leaps.

    async def _is_outside(self, record_id: UUID, statuses: tuple[TaskStatus, ...]) -> bool:
        record = await persistently(lambda: self.service.get(record_id))
        return record is not None and record.status not in statuses


async def persistently(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """Do as a client does whose database was away for a moment."""
    try:
        return await call()
    except StorageError:
        await asyncio.sleep(0.1)  # By a clock that leaps.
        return await call()


async def completes(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one")))


async def retries(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(stumble.using(key="one")))


async def comes_later(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(come_later.using(key="one")))


async def reports(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(report.using(key="one")))


async def is_interrupted(stage: Stage) -> None:
    lingering = await stage.enqueue(lambda: stage.service.enqueue(linger.using(key="one")))
    await stage.until(lingering, TaskStatus.RUNNING, TaskStatus.COMPLETED)
    stage.first.stop()


async def is_cancelled_while_it_runs(stage: Stage) -> None:
    lingering = await stage.enqueue(lambda: stage.service.enqueue(linger.using(key="one")))
    await stage.until(lingering, TaskStatus.RUNNING, TaskStatus.COMPLETED)
    await persistently(lambda: stage.service.cancel(lingering))


async def is_cancelled_while_it_waits(stage: Stage) -> None:
    waiting = await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one", delay=5)))
    await persistently(lambda: stage.service.cancel(waiting))


async def expires(stage: Stage) -> None:
    await persistently(lambda: stage.service.pause("closed"))
    await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one", queue="closed", expires_in=1)))


async def is_revived(stage: Stage) -> None:
    refused = await stage.enqueue(lambda: stage.service.enqueue(give_up.using(key="one")))
    await stage.until(refused, TaskStatus.FAILED)
    await revive(stage, refused)


async def revive(stage: Stage, refused: UUID) -> None:
    try:
        await stage.service.retry(refused)
    except StorageError:
        await asyncio.sleep(0.1)  # By a clock that leaps.
        if (record := await stage.service.get(refused)) and record.status is TaskStatus.FAILED:
            await stage.service.retry(refused)


async def runs_elsewhere(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one", execution_backend="plays-elsewhere")))


async def comes_after_another(stage: Stage) -> None:
    first = await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one")))
    await stage.enqueue(lambda: stage.service.enqueue(work.using(key="two", after=(first,))))


async def shares_a_limit(stage: Stage) -> None:
    limited = work.using(concurrency_key="limit", concurrency=1)
    await stage.enqueue(lambda: stage.service.enqueue(limited.using(key="one")))
    await stage.enqueue(lambda: stage.service.enqueue(limited.using(key="two")))


async def runs_inline(stage: Stage) -> None:
    await stage.enqueue(lambda: stage.service.enqueue(work.using(key="one", execution_backend="immediate")))


async def is_left_behind(stage: Stage) -> None:
    """A worker that is never heard of again has it."""
    backend = stage.service.queue_backend
    record = a_record(task_name=work.name, created_at=stage.time.now(), scheduled_at=stage.time.now())
    await persistently(lambda: backend.register(a_worker(SILENT)))
    left = lifecycle.claim(record, worker_id=SILENT, at=stage.time.now())
    try:
        await backend.insert([left])
    except StorageError:
        if await backend.get(left.id) is None:
            await backend.insert([left])


class Play(NamedTuple):
    """A story, and how it must end."""

    story: Callable[[Stage], Coroutine[Any, Any, None]]
    end: TaskStatus = TaskStatus.COMPLETED
    starts: int = 1
    """How often the record is started when nothing goes wrong."""

    ends: int = 1
    """How often it ends: again when a person has brought it back."""


PLAYS: Final = (
    Play(completes),
    Play(retries, starts=2),
    Play(comes_later, starts=2),
    Play(reports),
    Play(is_interrupted, starts=2),
    Play(is_cancelled_while_it_runs, end=TaskStatus.CANCELLED),
    Play(is_cancelled_while_it_waits, end=TaskStatus.CANCELLED, starts=0),
    Play(expires, end=TaskStatus.EXPIRED, starts=0),
    Play(is_revived, starts=2, ends=2),
    Play(runs_elsewhere),
    Play(runs_inline),
    Play(comes_after_another),
    Play(shares_a_limit),
    Play(is_left_behind),
)
