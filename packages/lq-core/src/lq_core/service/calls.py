"""From a call to the record that is stored for it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from msgspec.structs import replace

from lq_core.codec import size_of
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError, DuplicateKeyError, PayloadTooLargeError, TaskDefinitionError
from lq_core.identity import new_id
from lq_core.options import OnConflict, TaskOptions
from lq_core.queue import Insertion, Proposal
from lq_core.record import Backoff, Dependencies, KeyScope, QueuedTaskRecord, RetryRules
from lq_core.result import EnqueueOutcome, RecordSource, TaskResult
from lq_core.service.executions import Executions
from lq_core.task import Task, TaskCall

Result = TypeVar("Result")

_ENDED: Final = KeyScope.ENDED
_CREATED: Final = EnqueueOutcome.CREATED


def check_task(subject: object) -> None:
    """Raise TaskDefinitionError, with the way to do it, for what is enqueued and is no task."""
    if isinstance(subject, Task):
        return
    advice = "Decorate the function with @task, and enqueue what that makes of it."
    if isinstance(subject, str):
        advice = f"A task is enqueued by its name like this: enqueue_by_name({subject!r}, ...)."
    elif isinstance(subject, TaskCall):
        advice = "Calls are enqueued together: enqueue_many([call, ...])."
    elif inspect.iscoroutine(subject):
        subject.close()
        advice = "Give the task and its arguments apart: enqueue(task, argument), not enqueue(task(argument))."
    raise TaskDefinitionError(f"{subject!r} is not a task. {advice}")


def check_id(subject: object) -> UUID:
    """Return the id of a record. Raises TypeError, with the way to get one, for what is none."""
    if isinstance(subject, UUID):
        return subject
    advice = f"UUID({subject!r})" if isinstance(subject, str) else "result.id or record.id"
    raise TypeError(f"{subject!r} is {type(subject).__name__}, and no id of a record, which is a UUID: {advice}.")


def check_call(subject: object) -> None:
    """Raise TaskDefinitionError for what is enqueued among calls and is none."""
    if not isinstance(subject, TaskCall):
        raise TaskDefinitionError(f"{subject!r} is not a call of a task. Make one with: task.call(...).")


def new_records(
    calls: Sequence[TaskCall[Result]], config: QueueConfig, executions: Executions, *, at: datetime
) -> list[QueuedTaskRecord]:
    """Make the records of calls that are enqueued together; raises as :func:`new_record` does."""
    records: list[QueuedTaskRecord] = []
    before: TaskCall[Result] | None = None
    for call in calls:
        check_call(call)
        if before is None or call.options is not before.options or call.task_name != before.task_name:
            records.append(new_record(call, config, executions, at=at))
            before = call
        else:  # What the options come to need not be found out for each of a thousand.
            _check_size(call, config)
            records.append(replace(records[-1], id=_id_of(call), arguments=call.arguments, key=call.key))
    return records


def new_record(
    call: TaskCall[Result], config: QueueConfig, executions: Executions, *, at: datetime
) -> QueuedTaskRecord:
    """Make the record of a call. Raises ConfigurationError, PayloadTooLargeError, UnknownBackendError."""
    check_call(call)
    _check_size(call, config)
    options = call.options
    scheduled_at = _moment(options.scheduled_at, options.delay, at=at) or at
    expires_at = _moment(options.expires_at, options.expires_in, at=at)
    if expires_at is not None and at < scheduled_at >= expires_at:
        raise ConfigurationError(
            f"It is not to start before {scheduled_at.isoformat()}, and expires at {expires_at.isoformat()}: "
            "it would expire before it may start."
        )
    return QueuedTaskRecord(
        id=_id_of(call),
        task_name=call.task_name,
        arguments=call.arguments,
        queue=options.queue,
        priority=options.priority,
        execution_backend=executions.checked(options.execution_backend),
        execution_profile=options.execution_profile,
        key=call.key,
        key_scope=KeyScope.WINDOW if options.key_window else options.key_scope or _ENDED,
        key_until=at + timedelta(seconds=options.key_window) if options.key_window else None,
        retries=options.retries,
        backoff=options.backoff if isinstance(options.backoff, Backoff) else None,
        retry_rules=_retry_rules(options),
        timeout=options.timeout,
        expires_at=expires_at,
        after=Dependencies(ids=options.after, on_failure=options.after_failure) if options.after else None,
        blocked=bool(options.after),
        concurrency_key=options.concurrency_key,
        limits=options.limits,
        metadata=options.metadata,
        created_at=at,
        scheduled_at=scheduled_at,
    )


def proposals(calls: Sequence[TaskCall[Result]], records: Sequence[QueuedTaskRecord]) -> list[Proposal]:
    """Say for each record what its call wants done when another one holds the key."""
    return [Proposal(record, call.options.on_conflict) for call, record in zip(calls, records, strict=True)]


def results(
    calls: Sequence[TaskCall[Result]], insertions: Sequence[Insertion], source: RecordSource
) -> list[TaskResult[Result]]:
    """Tell the caller what became of the calls."""
    return [
        TaskResult(insertion.record, outcome=_outcome(insertion, call), source=source, codec=call.codec)
        for insertion, call in zip(insertions, calls, strict=True)
    ]


def accepted(result: TaskResult[Result]) -> TaskResult[Result]:
    """Return the result of a call. Raises DuplicateKeyError when the call was rejected."""
    if result.outcome is EnqueueOutcome.REJECTED:
        raise DuplicateKeyError(result.record.key or "", result.id)
    return result


async def check_predecessors(
    records: Sequence[QueuedTaskRecord], find: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]]
) -> None:
    """Raise ConfigurationError when a record comes after one that is neither stored nor about to be."""
    given = {record.id for record in records}
    wanted = {one for record in records if record.after for one in record.after.ids} - given
    if wanted and (unknown := wanted - {record.id for record in await find(list(wanted))}):
        raise ConfigurationError(
            f"after names {', '.join(map(str, sorted(unknown)))}, and there is no such record. "
            "Enqueue what comes before first, or together with what comes after it: enqueue_many([first, second])."
        )


def _outcome(insertion: Insertion, call: TaskCall[Result]) -> EnqueueOutcome:
    if insertion.created:
        return _CREATED
    if insertion.replaced:
        return EnqueueOutcome.REPLACED
    is_rejected = call.options.on_conflict is OnConflict.REJECT
    return EnqueueOutcome.REJECTED if is_rejected else EnqueueOutcome.EXISTING


def _check_size(call: TaskCall[Result], config: QueueConfig) -> None:
    size = size_of(call.arguments)
    if size > config.max_payload_bytes:
        raise PayloadTooLargeError(f"A call of {call.task_name}", size, config.max_payload_bytes)


def _id_of(call: TaskCall[Result]) -> UUID:
    return call.id if call.has_id else new_id()


def _moment(moment: datetime | None, seconds: float | None, *, at: datetime) -> datetime | None:
    if moment is not None:
        return moment.astimezone(UTC)
    return at + timedelta(seconds=seconds) if seconds else None


def _retry_rules(options: TaskOptions) -> RetryRules | None:
    wait = options.backoff if isinstance(options.backoff, str) else None
    if wait is None and options.retry_on is None and options.never_retry_on is None:
        return None
    return RetryRules(only=options.retry_on, never=options.never_retry_on or (), wait=wait)
