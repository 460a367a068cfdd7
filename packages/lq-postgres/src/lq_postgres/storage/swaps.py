"""Swaps as the parameters of statements, in batches that change each record once."""

from collections.abc import Iterator, Sequence
from typing import TypeVar
from uuid import UUID

from lq_core.queue import Swap
from lq_core.queue.columns import Columns
from lq_core.records.record import TaskStatus
from lq_postgres.statements.writing import AMENDED, SWAPPED

Choice = TypeVar("Choice")

_AMENDED = Columns(*AMENDED)
_SWAPPED = Columns(*SWAPPED)


def in_waves(swaps: Sequence[Swap]) -> Iterator[Sequence[Swap]]:
    """Cut a batch so that no statement changes a record twice."""
    start = 0
    seen = set[int]()
    for index, swap in enumerate(swaps):
        number = swap.record.id.int  # An int has a faster hash than a UUID.
        if number in seen:
            yield swaps[start:index]
            start, seen = index, set[int]()
        seen.add(number)
    if swaps:
        yield swaps[start:]


def are_completions(swaps: Sequence[Swap]) -> bool:
    """Whether each swap completes its record, and only the result is new."""
    return all(
        r.status is TaskStatus.COMPLETED
        and r.epoch == swap.epoch + 1
        and not r.history
        and r.error is None
        and r.progress is None
        and r.log_url is None
        and r.key_released
        and r.worker_id is None
        and r.execution_ref is None
        for swap in swaps
        for r in (swap.record,)
    )


def completions(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write completions as the parameters $11 to $14 of ``COMPLETE``."""
    results = [swap.record.result for swap in swaps]
    return (*_ids_and_epochs(swaps), results, [swap.record.finished_at for swap in swaps])


def written(swaps: Sequence[Swap], *, complete: Choice, settle: Choice) -> tuple[tuple[object, ...], Choice]:
    """Write swaps as the parameters from $11 on, and choose the statement for them."""
    return (completions(swaps), complete) if are_completions(swaps) else (swapped(swaps), settle)


def amended(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write swaps as the parameters $1 to $9 of ``AMEND``."""
    return _ids_and_epochs(swaps) + _AMENDED.arrays(swap.record for swap in swaps)


def swapped(swaps: Sequence[Swap]) -> tuple[object, ...]:
    """Write swaps as the parameters of ``SETTLE`` from $11 on."""
    return _ids_and_epochs(swaps) + _SWAPPED.arrays(swap.record for swap in swaps)


def answers_to(swaps: Sequence[Swap], lost: Sequence[UUID] | None) -> list[bool]:
    """Answer for each swap whether it was kept; *lost* has the ids of the others."""
    if not lost:
        return [True] * len(swaps)
    gone = frozenset(lost)
    return [swap.record.id not in gone for swap in swaps]


def _ids_and_epochs(swaps: Sequence[Swap]) -> tuple[object, ...]:
    return [swap.record.id for swap in swaps], [swap.epoch for swap in swaps]
