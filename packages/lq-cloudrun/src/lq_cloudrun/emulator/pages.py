"""Pages of a list, and etags: what several methods of the API have in common."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias, TypeVar

import grpc

from lq_cloudrun.emulator.project import RefusedError
from lq_cloudrun.emulator.rules import DEFAULT_PAGE, LARGEST_PAGE

Item = TypeVar("Item")

Rank: TypeAlias = tuple[int, ...]

INVALID: Final = grpc.StatusCode.INVALID_ARGUMENT


def page_of(items: Sequence[Item], *, size: int, token: str, key: Callable[[Item], Rank]) -> tuple[Sequence[Item], str]:
    """
    Return one page of *items*, whose keys rise, and the token of the next page.

    A token is the last key of a page, so that items that come and go neither repeat nor hide others.
    """
    if size < 0:
        raise RefusedError(INVALID, f"The page size is {size}; it cannot be negative.")
    start = bisect_right(items, _rank(token), key=key) if token else 0
    end = start + min(size or DEFAULT_PAGE, LARGEST_PAGE)
    return items[start:end], ".".join(map(str, key(items[end - 1]))) if end < len(items) else ""


def _rank(token: str) -> Rank:
    try:
        return tuple(int(part) for part in token.split("."))
    except ValueError as error:
        raise RefusedError(INVALID, f"The page token {token!r} does not come from this emulator.") from error


def check_etag(given: str, current: str) -> None:
    """Raise RefusedError if a request is about another version of a resource."""
    if given and given != current:
        raise RefusedError(grpc.StatusCode.ABORTED, f"The etag is {given}; the resource has {current} by now.")
