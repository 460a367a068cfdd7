"""Exception groups: the exceptions in them, which are the causes of a failure."""

from asyncio import CancelledError
from typing import cast


def causes_of(error: BaseException) -> list[BaseException]:
    """
    Return the exceptions in a group, at any depth and in their order; for any other exception, itself.

    Cancellations in a group count only if there is nothing else: they follow from the other exceptions.
    """
    causes: list[BaseException] = []
    rest = [error]
    while rest:
        one = rest.pop()
        if isinstance(one, BaseExceptionGroup):
            rest.extend(reversed(cast("BaseExceptionGroup[BaseException]", one).exceptions))
        else:
            causes.append(one)
    return [one for one in causes if not isinstance(one, CancelledError)] or causes
