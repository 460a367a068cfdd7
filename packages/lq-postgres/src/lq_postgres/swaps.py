"""Batches of swaps: cut for statements that change each record once, and what their answers say."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from lq_core.queue import Swap


def answers_to(swaps: Sequence[Swap], lost: Sequence[UUID] | None) -> list[bool]:
    """Say for each swap whether it was kept, when these ids were lost."""
    if not lost:
        return [True] * len(swaps)
    gone = frozenset(lost)
    return [swap.record.id not in gone for swap in swaps]


def in_waves(swaps: Sequence[Swap]) -> Iterator[Sequence[Swap]]:
    """Cut a batch so that no statement changes a record twice."""
    start = 0
    seen = set[int]()
    for index, swap in enumerate(swaps):
        number = swap.record.id.int  # Hashed without a call, unlike the id.
        if number in seen:
            yield swaps[start:index]
            start, seen = index, set[int]()
        seen.add(number)
    if swaps:
        yield swaps[start:]
