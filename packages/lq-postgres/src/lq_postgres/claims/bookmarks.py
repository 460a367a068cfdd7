"""
The places where the next claims begin.

Claims leave dead entries at the front of the index, and an open transaction anywhere in the database keeps vacuum from
removing them. In a backlog, a claim therefore begins where the last one ended, and regular claims from the front find
the records that arrived before that place. If claims from the front take long without a backlog, a worker claims new
records of each priority, and looks beside its claims for those that it leaves out. See docs/postgres.md.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise, product
from time import monotonic
from typing import Final, NamedTuple, TypeAlias

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
"""A claim with more bookmarks or ranges begins at the front."""

DEFAULT_URGENCY: Final = -1
"""The urgency, which is the inverted priority, of most records."""

Scope: TypeAlias = tuple[tuple[str, ...], tuple[str, ...] | None]
"""The execution backends and the queues of a claim."""

Partition: TypeAlias = tuple[str, str | None]
"""An execution backend and a queue. A claim from all queues has None for all of them but the default one."""


@dataclass
class _Run:
    """The claims of one scope."""

    full: int = 0
    """The number of records of the last claims that have all found as many as they asked for."""

    front_at: float = 0.0
    """When to look at everything again."""

    ends: dict[Partition, QueuedTaskRecord] = field(default_factory=dict)
    """The last record of each partition."""

    found_until: datetime | None = None
    """The claims have found what was due and stored before this moment; None if claims from the front are quick."""


class Bookmarks:
    """The runs of one process, one for each combination of queues and execution backends; *clock* counts seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._runs: dict[Scope, _Run] = {}
        self._urgencies: dict[Scope, dict[Partition, set[int]]] = {}
        """Those of all claimed records, up to ``MOST_BOOKMARKS``; kept when a run ends."""

        self._looking: set[Scope] = set()
        """For which claims a look at what they leave out is under way."""

    def of(self, claim: Claim) -> "Ranges | None":
        """Return the ranges in which this claim looks; None if it begins at the front."""
        scope = _scope_of(claim)
        run = self._runs.get(scope)
        if run is None:
            return None
        if run.full >= BACKLOG:
            ranges = list(_positions(run))
            if len(ranges) <= MOST_BOOKMARKS and self._clock() >= run.front_at:
                run.front_at = self._clock() + LONGEST_FRONT_INTERVAL  # `keep` replaces this if the claim succeeds.
                return None
        elif claim.brief and run.found_until is not None:
            ranges = list(_recent(self._urgencies[scope], since=run.found_until - MARGIN))
        else:
            return None
        if len(ranges) > MOST_BOOKMARKS:
            return None
        return Ranges(json.encode(ranges).decode(), several=run.full < BACKLOG)

    def left_out(self, claim: Claim) -> str | None:
        """Return the JSON of the ranges that brief claims leave out, if it is time to look at them."""
        scope = _scope_of(claim)
        run = self._leaving_out(claim)
        if run is None or run.found_until is None or scope in self._looking or self._clock() < run.front_at:
            return None
        self._looking.add(scope)
        return json.encode(list(_left_out(self._urgencies[scope], until=run.found_until - MARGIN))).decode()

    def looked(self, claim: Claim, *, found: bool, took: float) -> None:
        """Note the end of a look at what is left out, whether it has found a record, and how many seconds it took."""
        scope = _scope_of(claim)
        self._looking.discard(scope)
        if found or took <= SLOW:
            self.forget(claim)
        elif scope in self._runs:
            self._runs[scope].front_at = self._clock() + _interval(took)

    def next_look_in(self, claim: Claim) -> float | None:
        """Return in how many seconds to look at what is left out; None if a claim leaves out nothing."""
        run = self._leaving_out(claim)
        if run is None:
            return None
        is_looking = _scope_of(claim) in self._looking
        return LONGEST_FRONT_INTERVAL if is_looking else max(0.0, run.front_at - self._clock())

    def forget(self, claim: Claim) -> None:
        """Begin at the front next time."""
        _ = self._runs.pop(_scope_of(claim), None)

    def keep(
        self,
        claim: Claim,
        records: Sequence[QueuedTaskRecord],
        *,
        until: datetime,
        from_front_in: float | None,
        walked: bool = False,
    ) -> None:
        """
        Note the records of a claim, in order, which has found what was due and stored before *until*.

        *from_front_in* are the seconds that it took if it began at the front. A claim has *walked* if it looked at each
        queue; after that, a backlog begins at once.
        """
        if not claim.limit:
            return
        scope = _scope_of(claim)
        known = self._learn(claim, records)
        run = self._runs.setdefault(scope, _Run())
        is_full, was_backlog = len(records) >= claim.limit, run.full >= BACKLOG
        if from_front_in is not None:
            run.front_at = self._clock() + _interval(from_front_in)
            is_quick = from_front_in <= SLOW or sum(len(each) + 1 for each in known.values()) > MOST_BOOKMARKS
            run.found_until = None if is_full or is_quick else until
        elif not is_full and run.found_until is not None:
            run.found_until = (
                None if was_backlog else until
            )  # The end of a backlog is followed by a claim from the front.
        if from_front_in is not None or not is_full:
            run.ends.clear()
        run.full = run.full + (BACKLOG if walked else len(records)) if is_full else 0
        # A record with a fairness key may get a turn before this place, because others were being claimed meanwhile.
        if not (is_full or run.found_until) or any(FAIRNESS_KEY in record.metadata for record in records):
            self.forget(claim)
            return
        for record in records:
            run.ends[record.execution_backend, _queue_of(record, claim)] = record

    def _learn(self, claim: Claim, records: Sequence[QueuedTaskRecord]) -> Mapping[Partition, set[int]]:
        known = self._urgencies.get(_scope_of(claim))
        if known is None:
            queues = (DEFAULT_QUEUE, None) if claim.queues is None else claim.queues
            known = {each: {DEFAULT_URGENCY} for each in product(claim.execution_backends, queues)}
            self._urgencies[_scope_of(claim)] = known
        for record in records:
            urgencies = known[record.execution_backend, _queue_of(record, claim)]
            if len(urgencies) <= MOST_BOOKMARKS:
                urgencies.add(~record.priority)
        return known

    def _leaving_out(self, claim: Claim) -> _Run | None:
        run = self._runs.get(_scope_of(claim))
        return run if run is not None and claim.brief and run.found_until is not None and run.full < BACKLOG else None


class Ranges(NamedTuple):
    """Where a claim looks."""

    json: str
    several: bool
    """Whether a partition may have several ranges."""


def _interval(took: float) -> float:
    return min(max(FRONT_INTERVAL, 10 * took), LONGEST_FRONT_INTERVAL)


def _positions(run: _Run) -> Iterator[dict[str, object]]:
    for partition, record in run.ends.items():
        yield {
            **_range(partition),
            "urgency": ~record.priority,
            "scheduled_at": record.scheduled_at,
            "id": record.id,
        }


def _recent(known: Mapping[Partition, set[int]], *, since: datetime) -> Iterator[dict[str, object]]:
    """Leave out, of each priority that was claimed, what was due before *since*, and nothing of other priorities."""
    for partition, some in known.items():
        urgencies = sorted(some)
        yield {**_range(partition), "below": urgencies[0]}
        for urgency, below in pairwise([*urgencies, None]):
            yield {**_range(partition), "urgency": urgency, "scheduled_at": since, "below": below}


def _left_out(known: Mapping[Partition, set[int]], *, until: datetime) -> Iterator[dict[str, object]]:
    for partition, urgencies in known.items():
        for urgency in urgencies:
            yield {**_range(partition), "urgency": urgency, "scheduled_at": until}


def _range(partition: Partition) -> dict[str, object]:
    return dict(zip(("execution_backend", "queue"), partition, strict=True))


def _scope_of(claim: Claim) -> Scope:
    return claim.execution_backends, claim.queues


def _queue_of(record: QueuedTaskRecord, claim: Claim) -> str | None:
    return record.queue if claim.queues is not None or record.queue == DEFAULT_QUEUE else None
