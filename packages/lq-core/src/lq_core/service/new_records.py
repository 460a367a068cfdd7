"""From a call to the record that is stored for it."""

import inspect
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

from msgspec.structs import replace

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, DuplicateKeyError, PayloadTooLargeError, TaskDefinitionError
from lq_core.queue import BaseQueueBackend, Insertion, Proposal
from lq_core.queue.predecessors import follow_keys
from lq_core.records.identity import new_id
from lq_core.records.record import FAIRNESS_KEY, Backoff, Dependencies, KeyScope, QueuedTaskRecord, RetryRules
from lq_core.service.executions import Executions
from lq_core.service.result import EnqueueOutcome, RecordSource, TaskResult
from lq_core.tasks.call import TaskCall
from lq_core.tasks.codec import size_of
from lq_core.tasks.context import CURRENT
from lq_core.tasks.options import OnConflict, TaskOptions
from lq_core.tasks.task import Task

Item = TypeVar("Item")
Result = TypeVar("Result")

_USUAL: Final = RetryRules()
_NOTHING: Final[tuple[TaskOptions | None, QueuedTaskRecord | None]] = None, None


def check_task(subject: object) -> None:
    """Raise TaskDefinitionError with advice if *subject* is not a task."""
    if isinstance(subject, Task):
        return
    advice = "Decorate the function with @task, and enqueue the result."
    if isinstance(subject, str):
        advice = f"Enqueue a task by its name with enqueue_by_name({subject!r}, ...)."
    elif isinstance(subject, TaskCall):
        advice = "Enqueue calls with enqueue_many([call, ...])."
    elif inspect.iscoroutine(subject):
        subject.close()
        advice = "Pass the task and its arguments separately: enqueue(task, argument), not enqueue(task(argument))."
    raise TaskDefinitionError(f"{subject!r} is not a task. {advice}")


def listed(given: Iterable[Item], *, what: str, read_again: bool = False) -> list[Item]:
    """
    Make a list of what a caller gives.

    Raises TypeError for a generator that is used up, for a single value, and if the caller will *read_again* an
    iterator that this uses up.
    """
    if type(given) is not list:  # It is faster to ask for the usual first.
        _check_list(given, what=what, read_again=read_again)
    return [*given]


def _check_list(given: Iterable[object], *, what: str, read_again: bool) -> None:
    if inspect.isgenerator(given) and given.gi_frame is None:
        raise TypeError(f"{given!r} has been used up, so it gives no {what}; pass a list to use it more than once.")
    if read_again and isinstance(given, Iterator):
        raise TypeError(f"This would use up {given!r}; pass a list of {what}.")
    if not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
        is_async = isinstance(given, AsyncIterable)
        advice = f"[one async for one in {what}]" if is_async else f"[{what.removesuffix('s')}]"
        raise TypeError(f"{given!r} is not a list of {what}; pass one: {advice}.")


def check_id(subject: object) -> UUID:
    """Return the id of a record. Raises TypeError with advice for anything else."""
    if isinstance(subject, UUID):
        return subject
    advice = f"UUID({subject!r})" if isinstance(subject, str) else "result.id or record.id"
    raise TypeError(f"{subject!r} is {type(subject).__name__}; the id of a record is a UUID: {advice}.")


class RecordMaker:
    """Makes the records of calls, for one service."""

    def __init__(self, config: QueueConfig, executions: Executions, queue_backend: BaseQueueBackend) -> None:
        self._config = config
        self._executions = executions
        self._queue_backend = queue_backend
        self._last: dict[str, tuple[TaskOptions, QueuedTaskRecord]] = {}
        """For each task, the last options that do not depend on the time, and a record with them."""

    def many(self, calls: Sequence[TaskCall[Result]], *, at: datetime) -> list[QueuedTaskRecord]:
        """Make the records of calls; raises TaskDefinitionError, and the errors of :meth:`one`."""
        records: list[QueuedTaskRecord] = []
        options: TaskOptions | None = None
        name = ""
        for call in calls:
            if not isinstance(call, TaskCall):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
                raise TaskDefinitionError(f"{call!r} is not a call of a task. Make one with: task.call(...).")
            if call.options is options and call.task_name == name:  # It differs from the last one only in these fields.
                self._check_size(call)
                record_id = call.id if call.has_id else new_id()
                records.append(replace(records[-1], id=record_id, arguments=call.arguments, key=call.key))
            else:
                records.append(self.one(call, at=at))
                options = call.options if call.options.fairness_key_from is None else None
                name = call.task_name
        return records

    def one(self, call: TaskCall[Result], *, at: datetime) -> QueuedTaskRecord:
        """Make the record of a call. Raises ConfigurationError, PayloadTooLargeError, UnknownBackendError."""
        self._check_size(call)
        record_id = call.id if call.has_id else new_id()
        options, last = self._last.get(call.task_name, _NOTHING)
        if options is call.options and last is not None:  # It differs only in these fields.
            return replace(last, id=record_id, arguments=call.arguments, key=call.key, created_at=at, scheduled_at=at)
        if call.fairness_key is not None and not self._queue_backend.takes_turns:
            raise ConfigurationError(
                f"The fairness key is {call.fairness_key!r}, and {type(self._queue_backend).__name__} does not "
                "support fairness keys. Leave it out, or use another queue backend."
            )
        self._check_store(call.options.queue)
        record = _new_record(call, record_id, self._executions, at=at)
        if not _depends_on_time(call.options) and call.options.fairness_key_from is None:
            self._last[call.task_name] = call.options, replace(record, arguments="")
        return record

    def _check_store(self, queue: str) -> None:
        store, own = self._config.store_of(queue), self._config.own_store
        if store != own:
            advice = "Enqueue with RoutedQueueService(config), which opens all stores."
            if (running := CURRENT.get()) is not None:
                advice += (
                    f" The task {running.record.task_name!r} gets one for QueueService if its worker has the "
                    "configuration of all stores: run the worker with that, and not with config.of_store(...)."
                )
            raise ConfigurationError(
                f"The queue {queue!r} is in the store {store!r}, and this QueueService has opened the store {own!r}. "
                f"{advice}"
            )

    def _check_size(self, call: TaskCall[Result]) -> None:
        arguments, limit = call.arguments, self._config.max_payload_bytes
        # A character has at most four bytes; to count them takes longer.
        if 4 * len(arguments) > limit and (size := size_of(arguments)) > limit:
            raise PayloadTooLargeError(f"A call of {call.task_name}", size, limit)


def _depends_on_time(options: TaskOptions) -> bool:
    return any((options.scheduled_at, options.delay, options.expires_at, options.expires_in, options.key_window))


def _new_record(call: TaskCall[Result], record_id: UUID, executions: Executions, *, at: datetime) -> QueuedTaskRecord:
    options = call.options
    scheduled_at = _moment(options.scheduled_at, options.delay, at=at) or at
    expires_at = _moment(options.expires_at, options.expires_in, at=at)
    if expires_at is not None and at < scheduled_at >= expires_at:
        raise ConfigurationError(
            f"The record can start at {scheduled_at.isoformat()}, but expires at {expires_at.isoformat()}: "
            "it would expire before it can start."
        )
    return QueuedTaskRecord(
        id=record_id,
        task_name=call.task_name,
        arguments=call.arguments,
        queue=options.queue,
        priority=options.priority,
        execution_backend=executions.checked(options.execution_backend),
        execution_profile=options.execution_profile,
        key=call.key,
        key_scope=KeyScope.WINDOW if options.key_window else options.key_scope or KeyScope.ENDED,
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
        metadata=_metadata(call),
        created_at=at,
        scheduled_at=scheduled_at,
    )


def proposals(calls: Sequence[TaskCall[Result]], records: Sequence[QueuedTaskRecord]) -> list[Proposal]:
    """Pair each record with the ``on_conflict`` of its call."""
    return [Proposal(record, call.options.on_conflict) for call, record in zip(calls, records, strict=True)]


def results(
    calls: Sequence[TaskCall[Result]], insertions: Sequence[Insertion], source: RecordSource
) -> list[TaskResult[Result]]:
    """Make the results of calls."""
    return [
        TaskResult(
            insertion.record,
            outcome=EnqueueOutcome.CREATED if insertion.created else _outcome(insertion, call),
            source=source,
            codec=call.codec,
        )
        for insertion, call in zip(insertions, calls, strict=True)
    ]


def accepted(result: TaskResult[Result]) -> TaskResult[Result]:
    """Return the result of a call. Raises DuplicateKeyError if it was rejected."""
    if result.outcome is EnqueueOutcome.REJECTED:
        raise DuplicateKeyError(result.record.key or "", result.id)
    return result


async def check_predecessors(
    records: Sequence[QueuedTaskRecord],
    find: Callable[[Sequence[UUID]], Awaitable[Sequence[QueuedTaskRecord]]],
    *,
    follows_held_keys: bool,
) -> None:
    """
    Raise ConfigurationError if a predecessor is neither stored nor one of these records.

    A predecessor with a key cannot be one of them unless the store *follows_held_keys*.
    """
    if not follows_held_keys and follow_keys(records):
        raise ConfigurationError(
            "A call of this enqueue_many has a key, and another one comes after it, which this queue backend cannot "
            "store at once. Enqueue the call with the key first, and name its result in after=[...]."
        )
    given = {record.id for record in records}
    wanted = {one for record in records if record.after for one in record.after.ids} - given
    if wanted and (unknown := wanted - {record.id for record in await find(list(wanted))}):
        raise ConfigurationError(
            f"after names {', '.join(map(str, sorted(unknown)))}, and no such record exists. "
            "Enqueue predecessors first, or together with their successors: enqueue_many([first, second]). "
            "For a call with a key that is enqueued already, name its result: another record may hold the key."
        )


def _outcome(insertion: Insertion, call: TaskCall[Result]) -> EnqueueOutcome:
    if insertion.replaced:
        return EnqueueOutcome.REPLACED
    is_rejected = call.options.on_conflict is OnConflict.REJECT
    return EnqueueOutcome.REJECTED if is_rejected else EnqueueOutcome.EXISTING


def _moment(moment: datetime | None, seconds: float | None, *, at: datetime) -> datetime | None:
    return moment or (at + timedelta(seconds=seconds) if seconds else None)


def _metadata(call: TaskCall[Result]) -> dict[str, str]:
    key = call.fairness_key
    return call.options.metadata if key is None else {FAIRNESS_KEY: key, **call.options.metadata}


def _retry_rules(options: TaskOptions) -> RetryRules | None:
    wait = options.backoff if isinstance(options.backoff, str) else None
    if wait is options.retry_on is options.never_retry_on is options.max_losses and options.on_loss is _USUAL.on_loss:
        return None  # None of them is given; this is faster than making the rules and comparing them.
    rules = RetryRules(
        only=options.retry_on,
        never=options.never_retry_on or (),
        wait=wait,
        on_loss=options.on_loss,
        max_losses=_USUAL.max_losses if options.max_losses is None else options.max_losses,
    )
    return None if rules == _USUAL else rules
