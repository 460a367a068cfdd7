"""The signature of one call of a batch task, made from the function that takes many."""

import inspect
from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from lq_core.foundation.errors import TaskDefinitionError
from lq_core.tasks.context import TaskContext
from lq_core.tasks.injected import hints_of, is_injected, without_none


def single_of(function: Callable[..., object], task_name: str) -> Callable[..., object]:
    """
    Return a stand-in with the signature of one call: ``list[A] -> list[B | Exception]`` becomes ``A -> B``.

    Raises TaskDefinitionError, which says what to write.
    """
    signature = inspect.signature(function)
    hints = hints_of(function, said=f"task {task_name!r}", error=TaskDefinitionError)
    given = [parameter for parameter in signature.parameters.values() if not is_injected(parameter)]
    taken = _item(hints.get(given[0].name), list) if len(given) == 1 else None
    returned = _item(hints.get("return"), list, Sequence)
    if taken is None or returned is None:
        raise TaskDefinitionError(
            f"The batch task {task_name!r} must take one annotated list, and return a list with one outcome for each "
            f"call: `async def {function.__name__}(calls: list[int]) -> list[str | Exception]`."
        )
    asked = next((name for name, hint in hints.items() if without_none(hint) is TaskContext), None)
    if asked is not None:
        raise TaskDefinitionError(
            f"The parameter {asked!r} of the batch task {task_name!r} is a TaskContext, but its calls have one each; "
            "leave it out."
        )

    def single() -> None: ...

    single.__name__, single.__qualname__ = function.__name__, function.__qualname__
    single.__annotations__ = {**hints, given[0].name: taken, "return": _without_errors(returned)}
    single.__signature__ = signature.replace(
        parameters=[
            parameter.replace(annotation=single.__annotations__.get(parameter.name, parameter.annotation))
            for parameter in signature.parameters.values()
        ],
        return_annotation=single.__annotations__["return"],
    )
    return single


def _item(annotation: Any, *kinds: type) -> Any:
    """Return the A of ``list[A]``; None for anything else."""
    return get_args(annotation)[0] if get_origin(annotation) in kinds and get_args(annotation) else None


def _without_errors(annotation: Any) -> Any:
    """Leave the exceptions out of ``A | Exception``."""
    union: tuple[object, ...] = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    kinds = tuple(kind for kind in union if not _is_exception(kind))
    return Union[kinds] if kinds else NoneType  # noqa: UP007 -- the kinds are known only here


def _is_exception(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
