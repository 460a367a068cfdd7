"""
The places where the next claims begin.

Claims leave dead entries at the front of the index, and an open transaction anywhere in the database keeps vacuum from
removing them. In a backlog, a claim therefore begins where the last one ended, and regular claims from the front find
the records that arrived before that place. If claims from the front take long without a backlog, a worker claims new
records of each priority, and looks beside its claims for those that it leaves out. See docs/postgres.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from math import inf
from time import monotonic
from typing import Final, TypeAlias

from msgspec import json

from lq_core.queue import Claim
from lq_core.records.record import DEFAULT_QUEUE, FAIRNESS_KEY, QueuedTaskRecord

BACKLOG: Final = 1000
"""A backlog begins after this many records, if each claim has found as many as it asked for."""

SLOW: Final = 0.005
"""A claim from the front is slow if it takes the server more than these seconds."""

MARGIN: Final = timedelta(seconds=2)
"""How late a record may be stored, or become ready, and still be found by a claim that begins at the last one."""

FRONT_INTERVAL: Final = 0.1
"""The shortest time in seconds between two claims from the front; a slow one is repeated after ten times its time."""

LONGEST_FRONT_INTERVAL: Final = 5.0
"""The longest time in seconds between two claims from the front."""

MOST_BOOKMARKS: Final = 100
"""A claim with more bookmarks begins at the front."""

DEFAULT_URGENCY: Final = -1
"""The urgency, which is the inverted priority, of most records."""

Place: TypeAlias = tuple[str, str | None]
"""An execution backend and a queue. A claim from all queues has None for all of them but the default one."""


@dataclass
class _Run:
    """The claims of one scope."""

    full: int = 0
    """The number of records of the last claims that have all found as many as they asked for."""

    front_at: float = 0.0
    """When to look at everything again."""

    ends: dict[Place, QueuedTaskRecord] = field(default_factory=dict)
    """The last record of each place."""

    found_until: datetime | None = None
    """Up to when the last claims have found everything, if claims from the front are slow."""

    urgencies: defaultdict[Place, set[int]] = field(default_factory=lambda: defaultdict(lambda: {DEFAULT_URGENCY}))


class Bookmarks:
    """The runs of one process, one for each combination of queues and execution backends; *clock* counts seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._runs: dict[tuple[tuple[str, ...], tuple[str, ...] | None], _Run] = {}

    def of(self, claim: Claim) -> str | None:
        """Return the JSON of the ranges in which this claim looks; None if it begins at the front."""
        run = self._runs.get((claim.execution_backends, claim.queues))
        if run is None:
            return None
        if run.full >= BACKLOG:
            marks = list(_positions(run))
            if len(marks) <= MOST_BOOKMARKS and self._clock() >= run.front_at:
                run.front_at = self._clock() + LONGEST_FRONT_INTERVAL  # `keep` replaces this if the claim succeeds.
                return None
        elif claim.brief and run.found_until is not None:
            marks = list(_recent(run, claim, since=run.found_until - MARGIN))
        else:
            return None
        return json.encode(marks).decode() if len(marks) <= MOST_BOOKMARKS else None

    def left_out(self, claim: Claim) -> str | None:
        """Return the JSON of the ranges that brief claims leave out, if it is time to look at them."""
        run = self._run_of_new_records(claim)
        if run is None or run.found_until is None or self._clock() < run.front_at:
            return None
        run.front_at = inf  # Until `looked` replaces this.
        return json.encode(list(_left_out(run, until=run.found_until - MARGIN))).decode()

    def looked(self, claim: Claim, *, found: bool, took: float) -> None:
        """Note the end of a look at what is left out, whether it has found a record, and how many seconds it took."""
        run = self._run_of_new_records(claim)
        if found or took <= SLOW:
            self.forget(claim)
        elif run is not None:
            run.front_at = self._clock() + _interval(took)

    def next_look_in(self, claim: Claim) -> float | None:
        """Return in how many seconds to look at what is left out; None if a claim leaves out nothing."""
        run = self._run_of_new_records(claim)
        return None if run is None else min(max(0.0, run.front_at - self._clock()), LONGEST_FRONT_INTERVAL)

    def forget(self, claim: Claim) -> None:
        """Begin at the front next time."""
        _ = self._runs.pop((claim.execution_backends, claim.queues), None)

    def keep(
        self,
        claim: Claim,
        records: Sequence[QueuedTaskRecord],
        *,
        at: datetime,
        from_front_in: float | None,
        walked: bool = False,
    ) -> None:
        """
        Note the records of a claim, in order, when it ended, and the seconds that it took if it began at the front.

        A claim has *walked* if it looked at each queue; after that, a backlog begins at once.
        """
        if not claim.limit:
            return
        run = self._runs.setdefault((claim.execution_backends, claim.queues), _Run())
        if from_front_in is not None:
            run.front_at = self._clock() + _interval(from_front_in)
            run.ends.clear()
        is_full = len(records) >= claim.limit
        run.full = run.full + (BACKLOG if walked else len(records)) if is_full else 0
        if not is_full:
            run.ends.clear()
        if from_front_in is not None:
            run.found_until = None if is_full or from_front_in <= SLOW else at
        elif run.found_until is not None and not is_full:
            run.found_until = at
        # A record with a fairness key may get a turn before this place, because others were being claimed meanwhile.
        if not (is_full or run.found_until) or any(FAIRNESS_KEY in record.metadata for record in records):
            self.forget(claim)
            return
        for record in records:
            place = record.execution_backend, _queue_of(record, claim)
            run.ends[place] = record
            run.urgencies[place].add(~record.priority)
        if run.found_until is not None and len(list(_recent(run, claim, since=at))) > MOST_BOOKMARKS:
            run.urgencies.clear()
            run.found_until = None

    def _run_of_new_records(self, claim: Claim) -> _Run | None:
        run = self._runs.get((claim.execution_backends, claim.queues))
        return run if run is not None and claim.brief and run.found_until is not None and run.full < BACKLOG else None


def _interval(took: float) -> float:
    return min(max(FRONT_INTERVAL, 10 * took), LONGEST_FRONT_INTERVAL)


def _positions(run: _Run) -> Iterator[dict[str, object]]:
    for (execution_backend, queue), record in run.ends.items():
        yield {
            "execution_backend": execution_backend,
            "queue": queue,
            "urgency": ~record.priority,
            "scheduled_at": record.scheduled_at,
            "id": record.id,
        }


def _recent(run: _Run, claim: Claim, *, since: datetime) -> Iterator[dict[str, object]]:
    """Leave out, of each priority that was seen, what was due before *since*; the rest of the place is looked at."""
    queues = (DEFAULT_QUEUE, None) if claim.queues is None else claim.queues
    for place in ((execution_backend, queue) for execution_backend in claim.execution_backends for queue in queues):
        urgencies = sorted(run.urgencies[place])
        yield {**_mark(place), "below": urgencies[0]}
        for urgency, below in pairwise([*urgencies, None]):
            yield {**_mark(place), "urgency": urgency, "scheduled_at": since, "below": below}


def _left_out(run: _Run, *, until: datetime) -> Iterator[dict[str, object]]:
    for place, urgencies in run.urgencies.items():
        for urgency in urgencies:
            yield {**_mark(place), "urgency": urgency, "scheduled_at": until}


def _mark(place: Place) -> dict[str, object]:
    return dict(zip(("execution_backend", "queue"), place, strict=True))


def _queue_of(record: QueuedTaskRecord, claim: Claim) -> str | None:
    return record.queue if claim.queues is not None or record.queue == DEFAULT_QUEUE else None
