"""The steps of one attempt: those of earlier attempts give their results again, new ones run and are stored."""

import inspect
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, Final, cast, get_type_hints

import msgspec

from lq_core.foundation.errors import StepResultError, TaskDefinitionError
from lq_core.foundation.new_thread import in_new_thread
from lq_core.foundation.validation import Name, check_value
from lq_core.records import steps
from lq_core.records.history import STEP
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.codec import CallCodec

NOT_RUN: Final = object()
"""Stands for the result of a step that has not completed yet."""


class Step:
    """One step, made of any callable; without a return annotation, its result is plain data."""

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        try:
            self._codec = _codec_of(_return_annotation(function))
        except TaskDefinitionError as error:
            raise TaskDefinitionError(str(error).replace("task 'step'", f"the step {name!r}")) from None

    def encode(self, result: object) -> str:
        """Encode a result. Raises StepResultError if it cannot be stored."""
        try:
            return self._codec.encode_result(result)
        except Exception as error:  # noqa: BLE001 -- the encoders of the user's own types may raise anything
            raise StepResultError(self._name, str(error)) from None

    def decode(self, value: str) -> object:
        """Decode a stored result. Raises TypeError if it does not fit the annotation."""
        try:
            return self._codec.decode_result(value)
        except msgspec.DecodeError as error:
            raise TypeError(
                f"The stored result of the step {self._name!r} does not fit the return annotation: {error}. Correct "
                "the annotation, or give a step that does something else another name."
            ) from None


class Steps:
    """The steps of one attempt at a record."""

    def __init__(self, record: QueuedTaskRecord) -> None:
        self._record = record
        self._done = steps.kept(record, STEP)
        self._begun = set[str]()

    def begin(self, name: str, function: Callable[..., object]) -> tuple[Step, object]:
        """
        Return a step, and its result from an earlier attempt, or NOT_RUN.

        Raises ConfigurationError for a bad name, or if the record has no room for one more step; ValueError if this
        attempt has begun a step of this name already; TaskDefinitionError if no result of the function could be stored.
        """
        check_value("The name of a step", name, Name)
        if name in self._begun:
            raise ValueError(
                f"This attempt has begun a step {name!r} already. Each step of a task needs a name of its own; in a "
                f"loop, for example f'{name} {{number}}'."
            )
        self._begun.add(name)
        step = Step(name, function)
        if name in self._done:
            return step, step.decode(self._done[name])
        steps.check_room(self._record, more=len(self._begun - self._done.keys()) - 1)
        return step, NOT_RUN


async def outcome_of(function: Callable[..., object], *args: object, **kwargs: object) -> object:
    """Await an async function, or call a plain one in a thread."""
    call = partial(function, *args, **kwargs)
    value = call() if inspect.iscoroutinefunction(function) else await in_new_thread(call)
    return await cast("Awaitable[object]", value) if inspect.isawaitable(value) else value


def _codec_of(annotation: object) -> CallCodec[object]:
    try:
        return _codec(cast("Hashable", annotation))
    except TaskDefinitionError:
        raise
    except TypeError:  # It is not hashable, as Annotated[int, [1]] is not.
        return _codec.__wrapped__(cast("Hashable", annotation))


@lru_cache(maxsize=256)
def _codec(annotation: Hashable) -> CallCodec[object]:
    """Make the codec of the results with an annotation; it takes longer than a step in memory."""

    def returns() -> object: ...

    returns.__annotations__ = {"return": annotation}
    return CallCodec(returns, task_name="step", supplied=frozenset())


def _return_annotation(function: Callable[..., object]) -> object:
    while isinstance(function, partial):
        function = function.func
    hints: dict[str, object] = {}
    with suppress(NameError, AttributeError, TypeError):  # What it returns is checked all the same.
        hints = get_type_hints(
            function if inspect.isroutine(function) else type(function).__call__, include_extras=True
        )
    return hints.get("return", Any)
