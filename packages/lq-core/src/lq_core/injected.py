"""The mark of a parameter that is no part of a call, but is given to the function where it runs."""

import inspect
from typing import Final, Never, cast


class _Injected:
    """Stands in for a value until lq gives one."""

    def __repr__(self) -> str:
        return "INJECTED"

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"INJECTED has no {name!r}: give the value where you call the function yourself.")


INJECTED: Final = cast("Never", _Injected())
"""
The default of a parameter whose value lq injects, found by the parameter's annotation: ``pool: Pool = INJECTED``.

To a type checker it fits every annotation, and callers leave the parameter out.
"""


def is_injected(parameter: inspect.Parameter) -> bool:
    """Whether a parameter of a function is left to lq."""
    return isinstance(parameter.default, _Injected)
