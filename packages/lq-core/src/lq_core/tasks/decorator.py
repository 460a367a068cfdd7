"""``@task``: it makes a function a task, and registers it."""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar, Unpack, overload

from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.errors import TaskDefinitionError
from lq_core.foundation.import_path import path_of
from lq_core.foundation.validation import Count, Name, Seconds, check_value
from lq_core.tasks.context import TaskContext
from lq_core.tasks.injected import is_method, resolve_annotations
from lq_core.tasks.known_tasks import register
from lq_core.tasks.options import OptionArguments, TaskOptions, change_options
from lq_core.tasks.task import AnyBatchTask, AnyTask, AsyncTask, BatchTask, PlainTask

Params = ParamSpec("Params")
Result = TypeVar("Result")
Item = TypeVar("Item")

BATCH_WAIT: Final = 0.2
"""Seconds that the first call of a batch waits for others, if the task does not say so."""


class TaskDecorator(Protocol):
    """The result of ``@task(...)``: it makes an ``async def`` or a plain function a task."""

    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload] -- a coroutine is also a result; the first that fits is meant
        self, function: Callable[Concatenate[TaskContext, Params], Coroutine[object, object, Result]], /
    ) -> AsyncTask[Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Params, Coroutine[object, object, Result]], /
    ) -> AsyncTask[Params, Result]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[TaskContext, Params], Result], /
    ) -> PlainTask[Params, Result]: ...
    @overload
    def __call__(self, function: Callable[Params, Result], /) -> PlainTask[Params, Result]: ...


class BatchDecorator(Protocol):
    """The result of ``@task(batch=...)``: it makes a function from lists to lists a task."""

    @overload
    def __call__(
        self, function: Callable[[list[Item]], Coroutine[object, object, Sequence[Result | Exception]]], /
    ) -> BatchTask[Item, Result, Coroutine[object, object, Sequence[Result | Exception]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[Item]], Sequence[Result | Exception]], /
    ) -> BatchTask[Item, Result, Sequence[Result | Exception]]: ...


@overload
def task(  # pyright: ignore[reportOverlappingOverload] -- a coroutine is also a result; the first that fits is meant
    function: Callable[Concatenate[TaskContext, Params], Coroutine[object, object, Result]], /
) -> AsyncTask[Params, Result]: ...
@overload
def task(function: Callable[Params, Coroutine[object, object, Result]], /) -> AsyncTask[Params, Result]: ...
@overload
def task(function: Callable[Concatenate[TaskContext, Params], Result], /) -> PlainTask[Params, Result]: ...
@overload
def task(function: Callable[Params, Result], /) -> PlainTask[Params, Result]: ...
@overload
def task(
    *, batch: int, batch_wait: Duration = BATCH_WAIT, name: str | None = None, **options: Unpack[OptionArguments]
) -> BatchDecorator: ...
@overload
def task(*, name: str | None = None, **options: Unpack[OptionArguments]) -> TaskDecorator: ...
def task(
    function: Callable[..., object] | None = None,
    /,
    *,
    name: str | None = None,
    batch: int | None = None,
    batch_wait: Duration = BATCH_WAIT,
    **options: Unpack[OptionArguments],
) -> object:
    """
    Make a function a task, with or without options: ``@task`` or ``@task(queue="mail", retries=3)``.

    The default name is the function's module and qualified name. Records store the name: with a name of its own, a
    task can move to another module. Raises ConfigurationError for a bad option, DuplicateTaskError if another
    function has the name, TaskDefinitionError for a function that cannot be a task.

    With *batch*, the function takes a list: the arguments of up to this many calls, which a worker gathers for at most
    *batch_wait* seconds. It returns a list with one outcome for each, a result or an exception.

    These are the options; ``task.using(...)`` takes them, too. Durations are seconds or a ``timedelta``.

    * ``queue``: the queue in which its calls wait; ``"default"``.
    * ``priority``: calls with larger numbers are claimed first; 0.
    * ``delay``: do not start until this long after the enqueue.
    * ``scheduled_at``: do not start before this moment.
    * ``expires_in``: expire if not started within this time after the enqueue.
    * ``expires_at``: expire if not started by this moment.
    * ``key``: while a record holds this key, lq creates no other record with it.
    * ``key_from``: build the key from the arguments of these parameters: ``("user_id",)``.
    * ``key_scope``: hold the key until the record is ``"started"`` or has ``"ended"``, the default.
    * ``key_window``: hold the key for this long after the enqueue.
    * ``on_conflict``: ``"return_existing"`` (default), ``"reject"``, ``"replace"`` or ``"debounce"`` on a held key.
    * ``concurrency_key``: calls with the same concurrency key share *concurrency* and *rate*.
    * ``concurrency``: how many calls with this concurrency key run at once, over all workers.
    * ``rate``: how many calls with this concurrency key start in a period: ``RateLimit(5, per=60)``.
    * ``fairness_key``: waiting calls of equal priority take turns by this key, for example the id of a tenant.
    * ``fairness_key_from``: build the fairness key from the arguments of these parameters: ``("tenant",)``.
    * ``retries``: how many failures are followed by another attempt; 0.
    * ``backoff``: the delay before a retry: seconds, a ``Backoff``, or a function of the number of failures.
    * ``retry_on``: retry only after these exceptions: ``(OSError,)``.
    * ``never_retry_on``: do not retry after these exceptions.
    * ``on_loss``: ``"retry"`` or ``"fail"`` if the worker dies or is stopped before the function ends.
    * ``max_losses``: how many losses are followed by another start; 5 if None.
    * ``timeout``: how long one attempt may take; None for no limit.
    * ``execution_backend``: where the calls run, such as ``"process"``; ``QueueConfig.execution_backend`` if None.
    * ``execution_profile``: a profile of the execution backend, such as a Cloud Run job with more memory.
    * ``after``: do not start before the records of these results, calls or ids have ended.
    * ``after_failure``: ``"cancel"`` or ``"run"`` the call if one of those in *after* does not complete.
    * ``metadata``: a dict of texts that is stored with the record.
    """
    made = change_options(TaskOptions(), options, beside=("name", "batch", "batch_wait"))
    wait = seconds(batch_wait)
    check_value("batch", batch, Count | None)
    check_value("batch_wait", wait, Seconds)
    if name is not None:
        check_value("The name of a task", name, Name)

    def decorate(function: Callable[..., object]) -> AnyTask:
        if isinstance(function, str):
            raise TaskDefinitionError(
                f"{function!r} is not a function. A task is named like this: @task(name={function!r})."
            )
        is_other = isinstance(function, type) or inspect.isgeneratorfunction(function)
        is_other = is_other or inspect.isasyncgenfunction(function)
        if not hasattr(function, "__qualname__") or not callable(function) or is_other:
            raise TaskDefinitionError(f"{function!r} cannot be a task: use a plain function or an async def.")
        if is_method(function):
            raise TaskDefinitionError(
                f"{function.__qualname__} is a method, and a worker has no object for it: use a function that asks "
                "for what it needs (INJECTED)."
            )
        if "<lambda>" in function.__qualname__ and name is None:
            raise TaskDefinitionError("A lambda has no name that another process could find: use a def.")
        resolve_annotations(function)
        known_as = path_of(function) if name is None else name
        if batch is None:
            kind = AsyncTask[..., object] if inspect.iscoroutinefunction(function) else PlainTask[..., object]
            task: AnyTask = kind(function, name=known_as, options=made)
        else:
            task = AnyBatchTask(function, name=known_as, options=made, batch=batch, batch_wait=wait)
        _check_codec(task)
        register(task)
        return task

    return decorate if function is None else decorate(function)


def _check_codec(task: AnyTask) -> None:
    """Raise TaskDefinitionError for annotations that no call could fit; those that name later types are read later."""
    try:
        _ = task.codec
    except TaskDefinitionError as error:
        if not isinstance(error.__cause__, NameError | AttributeError):
            raise
