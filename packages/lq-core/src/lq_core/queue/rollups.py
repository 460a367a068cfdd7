"""What has ended in each minute: how many records, how long they had waited, and how long they ran."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskStatus

EVERYTHING: Final = ""
"""The queue of the rollups that count the records of all queues."""

KEPT: Final = timedelta(days=2)
"""How long a store keeps rollups."""

BUSIEST: Final = 20
"""One write counts this many queues apart, those with the most records; EVERYTHING counts all of them."""

MEASURED: Final = 200
"""How many records are measured between two writes, before only one of ``ONE_OF`` is."""

ONE_OF: Final = 16

BUCKETS: Final = 26
"""Bucket n counts durations below 2 ** n milliseconds that no bucket before it counts; the last one has no bound."""

COUNTED: Final = tuple(sorted(TERMINAL))
_MILLISECOND: Final = timedelta(milliseconds=1)


class Rollup(Struct, frozen=True, kw_only=True):
    """The records of one queue that have ended in one minute."""

    minute: datetime
    """Its beginning."""

    queue: str = EVERYTHING
    counts: tuple[int, ...] = (0,) * len(COUNTED)
    """How many records ended with each status of ``COUNTED``."""

    waits: tuple[int, ...] = (0,) * BUCKETS
    """How many of the measured ones waited this long from when they were due until their last start, by bucket."""

    runs: tuple[int, ...] = (0,) * BUCKETS
    """How many of the measured ones ran this long from their last start until their end, by bucket."""

    def count(self, status: TaskStatus) -> int:
        """Return how many records ended with a status."""
        return self.counts[COUNTED.index(status)]

    @property
    def numbers(self) -> tuple[int, ...]:
        """All its numbers in one row, which a store adds to those of the same minute and queue."""
        return self.counts + self.waits + self.runs

    @classmethod
    def of_numbers(cls, minute: datetime, queue: str, numbers: Sequence[int]) -> "Rollup":
        """Make a rollup of a row of numbers."""
        waits = len(COUNTED) + BUCKETS
        counts, waited, ran = numbers[: len(COUNTED)], numbers[len(COUNTED) : waits], numbers[waits:]
        return cls(minute=minute, queue=queue, counts=tuple(counts), waits=tuple(waited), runs=tuple(ran))


class Tally:
    """Counts the records that end in this process, until a store takes them over; every record passes here."""

    def __init__(self) -> None:
        self._found: dict[tuple[datetime, str], list[int]] = {}
        self._minute = self._next_minute = datetime.min.replace(tzinfo=UTC)
        self._counts = defaultdict[tuple[str, TaskStatus], int](int)
        """The records of the current minute, by queue and status."""

        self._seen = 0

    def add(self, record: QueuedTaskRecord, *, finished_at: datetime) -> None:
        """Count a record that has ended."""
        if not self._minute <= finished_at < self._next_minute:
            self._enter(finished_at)
        self._counts[record.queue, record.status] += 1
        self._seen += 1
        if self._seen <= MEASURED or self._seen % ONE_OF == 0:
            self._measure(record, finished_at)

    def take(self) -> list[Rollup]:
        """Return what was counted since the last call: EVERYTHING, and the busiest queues."""
        self._enter(self._minute)
        self._seen = 0
        found, self._found = self._found, {}
        totals = sorted(found.items(), key=lambda each: (each[0][1] != EVERYTHING, -sum(each[1][: len(COUNTED)])))
        minutes = sum(queue == EVERYTHING for _, queue in found)
        return [Rollup.of_numbers(*key, numbers) for key, numbers in totals[: minutes + BUSIEST]]

    def _enter(self, moment: datetime) -> None:
        for (queue, status), count in self._counts.items():
            for numbers in self._numbers(queue):
                numbers[COUNTED.index(status)] += count
        self._counts.clear()
        self._minute = moment.replace(second=0, microsecond=0)
        self._next_minute = self._minute + timedelta(minutes=1)

    def _measure(self, record: QueuedTaskRecord, finished_at: datetime) -> None:
        if record.started_at is None:
            return
        due_at = max(record.scheduled_at, record.created_at)  # The turn of a record may be earlier than the record.
        for numbers in self._numbers(record.queue):
            numbers[len(COUNTED) + bucket_of(record.started_at - due_at)] += 1
            numbers[len(COUNTED) + BUCKETS + bucket_of(finished_at - record.started_at)] += 1

    def _numbers(self, queue: str) -> list[list[int]]:
        nothing = len(COUNTED) + 2 * BUCKETS
        return [self._found.setdefault((self._minute, each), [0] * nothing) for each in (EVERYTHING, queue)]


def bucket_of(duration: timedelta) -> int:
    """Return the number of the bucket of a duration."""
    return min(max(0, duration // _MILLISECOND).bit_length(), BUCKETS - 1)


def merged(rollups: Iterable[Rollup]) -> Sequence[int]:
    """Add the numbers of rollups."""
    return [sum(column) for column in zip(*(one.numbers for one in rollups), strict=True)]


def quantile(buckets: Sequence[int], share: float) -> float | None:
    """Estimate in seconds the duration that this share of the measured records did not exceed; None if none was."""
    rank, seen = share * sum(buckets), 0
    for number, count in enumerate(buckets):
        if count and seen + count >= rank:
            least = 0.0 if number == 0 else 2.0 ** (number - 1)
            return (least + (2.0**number - least) * max(0.0, rank - seen) / count) / 1000
        seen += count
    return None
