"""From a call to the record that is stored for it."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from lq_core.codec import size_of
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError, PayloadTooLargeError, TaskDefinitionError
from lq_core.identity import new_id
from lq_core.record import Dependencies, QueuedTaskRecord
from lq_core.service.executions import Executions
from lq_core.task import Task, TaskCall

Result = TypeVar("Result")


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


def check_call(subject: object) -> None:
    """Raise TaskDefinitionError for what is enqueued among calls and is none."""
    if not isinstance(subject, TaskCall):
        raise TaskDefinitionError(f"{subject!r} is not a call of a task. Make one with: task.call(...).")


def new_record(
    call: TaskCall[Result], config: QueueConfig, executions: Executions, *, at: datetime
) -> QueuedTaskRecord:
    """Make the record of a call. Raises PayloadTooLargeError, UnknownBackendError."""
    check_call(call)
    options = call.options
    size = size_of(call.arguments)
    if size > config.max_payload_bytes:
        raise PayloadTooLargeError(f"A call of {call.task_name}", size, config.max_payload_bytes)
    scheduled_at = options.scheduled_at or (at + timedelta(seconds=options.delay) if options.delay else at)
    expires_at = options.expires_at or (at + timedelta(seconds=options.expires_in) if options.expires_in else None)
    return QueuedTaskRecord(
        id=call.id if call.has_id else new_id(),
        task_name=call.task_name,
        arguments=call.arguments,
        queue=options.queue,
        priority=options.priority,
        execution_backend=executions.checked(options.execution_backend),
        execution_profile=options.execution_profile,
        key=options.key,
        retries=options.retries,
        backoff=options.backoff,
        timeout=options.timeout,
        expires_at=expires_at,
        after=Dependencies(ids=options.after, on_failure=options.after_failure) if options.after else None,
        blocked=bool(options.after),
        metadata=options.metadata,
        created_at=at,
        scheduled_at=scheduled_at,
    )


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
