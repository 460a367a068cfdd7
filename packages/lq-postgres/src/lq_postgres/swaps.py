"""Batches of swaps: cut for statements that change each record once, and what their answers say."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from lq_core.queue import Swap


def answers_to(swaps: Sequence[Swap], lost: Sequence[UUID] | None) -> list[bool]:
    """Say for each swap whether it was kept, when these ids were lost."""
    gone = frozenset(lost or ())
    return [swap.record.id not in gone for swap in swaps]


def in_waves(swaps: Sequence[Swap]) -> Iterator[Sequence[Swap]]:
    """Cut a batch so that no statement changes a record twice."""
    start = 0
    seen = set[UUID]()
    for index, swap in enumerate(swaps):
        if swap.record.id in seen:
            yield swaps[start:index]
            start, seen = index, set[UUID]()
        seen.add(swap.record.id)
    if swaps:
        yield swaps[start:]
