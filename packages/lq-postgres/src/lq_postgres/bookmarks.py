"""
Where a long run of claims has come to.

What was claimed leaves dead entries at the front of the index, until PostgreSQL vacuums; while a transaction stays
open anywhere in the database, it cannot, and each claim would read over all of them. So in a backlog the next claim
begins where the last one ended. What has come in before that place since (it is more urgent, or was committed late) is
found by the claims that look from the front all the same: ten times a second, or as often as takes a tenth of the time,
but every five seconds at least.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, TypeAlias

from msgspec import json

from lq_core.queue import Claim
from lq_core.record import QueuedTaskRecord

BACKLOG: Final = 1000
"""So many records make a backlog, when every claim on the way to them has found as many as it asked for."""

FRONT_INTERVAL: Final = 0.1
"""Seconds after which a claim looks from the front again, or ten times what the last such look took, but at most..."""

LONGEST_FRONT_INTERVAL: Final = 5.0
"""...so many."""

MOST_BOOKMARKS: Final = 100
"""A claim that would carry more of them, each of another queue, looks from the front."""

Scope: TypeAlias = tuple[tuple[str, ...], tuple[str, ...] | None]


@dataclass
class _Run:
    """Claims of one scope that have all found as much as they asked for."""

    records: int = 0
    front_at: float = 0.0
    ends: dict[tuple[str, str], QueuedTaskRecord] = field(default_factory=dict)


class Bookmarks:
    """
    The runs of one process: claims of different queues or execution backends have runs of their own.

    *clock* tells seconds that pass.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._runs: dict[Scope, _Run] = {}

    def of(self, claim: Claim) -> str | None:
        """Write down where this claim may begin, as the statement reads it; None for the front."""
        run = self._runs.get(_scope(claim))
        if run is None or run.records < BACKLOG or len(run.ends) > MOST_BOOKMARKS:
            return None
        if self._clock() >= run.front_at:
            run.front_at = self._clock() + LONGEST_FRONT_INTERVAL  # Unless this look comes back, which says better.
            return None
        marks = [
            {
                "execution_backend": execution_backend,
                "queue": queue,
                "urgency": ~record.priority,
                "scheduled_at": record.scheduled_at,
                "id": record.id,
            }
            for (execution_backend, queue), record in run.ends.items()
        ]
        return json.encode(marks).decode()

    def keep(self, claim: Claim, records: Sequence[QueuedTaskRecord], *, took: float | None) -> None:
        """Note what a claim has taken, in its order, and the seconds that it took, if it has looked from the front."""
        if not claim.limit:
            return
        scope = _scope(claim)
        if len(records) < claim.limit:
            _ = self._runs.pop(scope, None)
            return
        run = self._runs.setdefault(scope, _Run())
        run.records += len(records)
        if took is not None:
            run.front_at = self._clock() + min(max(FRONT_INTERVAL, 10 * took), LONGEST_FRONT_INTERVAL)
            run.ends.clear()
        for record in records:
            run.ends[record.execution_backend, record.queue] = record


def _scope(claim: Claim) -> Scope:
    return claim.execution_backends, claim.queues
