"""
The places where the next claims of a backlog begin.

Claims leave dead entries at the front of the index, and an open transaction anywhere in the database keeps vacuum from
removing them. In a backlog, a claim therefore begins where the last one ended. Regular claims from the front find the
records that arrived before that place. See docs/postgres.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from msgspec import json

from lq_core.queue import Claim
from lq_core.records.record import DEFAULT_QUEUE, FAIRNESS_KEY, QueuedTaskRecord

BACKLOG: Final = 1000
"""A backlog begins after this many records, if each claim has found as many as it asked for."""

FRONT_INTERVAL: Final = 0.1
"""The shortest time in seconds between two claims from the front; a slow one is repeated after ten times its time."""

LONGEST_FRONT_INTERVAL: Final = 5.0
"""The longest time in seconds between two claims from the front."""

MOST_BOOKMARKS: Final = 100
"""A claim with more bookmarks, one for each queue, begins at the front."""


@dataclass
class _Run:
    """Claims of one scope that have all found as many records as they asked for."""

    records: int = 0
    front_at: float = 0.0
    ends: dict[tuple[str, str | None], QueuedTaskRecord] = field(default_factory=dict)
    """The last record of each partition; a claim from all queues has one of all queues but the default one: None."""


class Bookmarks:
    """The runs of one process, one for each combination of queues and execution backends; *clock* counts seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._runs: dict[tuple[tuple[str, ...], tuple[str, ...] | None], _Run] = {}

    def of(self, claim: Claim) -> str | None:
        """Return the JSON of the places where this claim begins; None for the front."""
        run = self._runs.get((claim.execution_backends, claim.queues))
        if run is None or run.records < BACKLOG or len(run.ends) > MOST_BOOKMARKS:
            return None
        if self._clock() >= run.front_at:
            run.front_at = self._clock() + LONGEST_FRONT_INTERVAL  # `keep` replaces this if the claim succeeds.
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

    def keep(
        self, claim: Claim, records: Sequence[QueuedTaskRecord], *, took: float | None, walked: bool = False
    ) -> None:
        """
        Note the records of a claim, in order, and the seconds that it took if it began at the front.

        A claim has *walked* if it looked at each queue; after that, a backlog begins at once.
        """
        if not claim.limit:
            return
        scope = claim.execution_backends, claim.queues
        # A record with a fairness key may get a turn before this place, because others were being claimed meanwhile.
        if len(records) < claim.limit or any(FAIRNESS_KEY in record.metadata for record in records):
            _ = self._runs.pop(scope, None)
            return
        run = self._runs.setdefault(scope, _Run())
        run.records += BACKLOG if walked else len(records)
        if took is not None:
            run.front_at = self._clock() + min(max(FRONT_INTERVAL, 10 * took), LONGEST_FRONT_INTERVAL)
            run.ends.clear()
        for record in records:
            queue = record.queue if claim.queues is not None or record.queue == DEFAULT_QUEUE else None
            run.ends[record.execution_backend, queue] = record
