"""What has ended in each minute: how many records, how long they had waited, and how long they ran."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec import Struct

from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskStatus

EVERYTHING: Final = ""
"""The queue of the rollups that count the records of all queues."""

KEPT: Final = timedelta(days=2)
"""How long a store keeps rollups."""

BUSIEST: Final = 20
"""One write counts so many queues apart, those with the most records; EVERYTHING counts all of them."""

AT_ONCE: Final = 1000
"""How many records are counted together."""

MEASURED: Final = 250
"""Of more records that are counted together, only every second, third or fourth one is measured."""

BUCKETS: Final = 26
"""Bucket n counts durations below 2 ** n milliseconds that no bucket before it counts; the last one has no bound."""

COUNTED: Final = tuple(sorted(TERMINAL))


class Rollup(Struct, frozen=True, kw_only=True):
    """The records of one queue that have ended in one minute."""

    minute: datetime
    """Its beginning."""

    queue: str = EVERYTHING
    counts: tuple[int, ...] = (0,) * len(COUNTED)
    """How many records ended with each status of ``COUNTED``."""

    waits: tuple[int, ...] = (0,) * BUCKETS
    """How many of the measured ones waited so long from when they were due until their last start, by bucket."""

    runs: tuple[int, ...] = (0,) * BUCKETS
    """How many of the measured ones ran so long from their last start until their end, by bucket."""

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


class _Ended(NamedTuple):
    """What is counted of a record; its arguments and result can be large."""

    finished_at: datetime
    queue: str
    status: TaskStatus
    scheduled_at: datetime
    created_at: datetime
    started_at: datetime | None


class Tally:
    """Counts the records that end in this process, until a store takes them over."""

    def __init__(self) -> None:
        self._ended: list[_Ended] = []
        self._found: dict[tuple[datetime, str], list[int]] = {}

    def add(self, record: QueuedTaskRecord) -> None:
        """Count a record that has ended."""
        ended = record.finished_at or record.created_at
        self._ended.append(
            _Ended(ended, record.queue, record.status, record.scheduled_at, record.created_at, record.started_at)
        )
        if len(self._ended) == AT_ONCE:
            self._count()

    def take(self) -> list[Rollup]:
        """Return what was counted since the last call: EVERYTHING, and the busiest queues."""
        self._count()
        found, self._found = self._found, {}
        totals = sorted(found.items(), key=lambda each: (each[0][1] != EVERYTHING, -sum(each[1][: len(COUNTED)])))
        minutes = sum(queue == EVERYTHING for _, queue in found)
        return [Rollup.of_numbers(*key, numbers) for key, numbers in totals[: minutes + BUSIEST]]

    def _count(self) -> None:
        ended, self._ended = self._ended, []
        kinds = Counter((_minute_of(one.finished_at), one.queue, one.status) for one in ended)
        for (minute, queue, status), count in kinds.items():
            for numbers in self._numbers(minute, queue):
                numbers[COUNTED.index(status)] += count
        for one in ended[:: len(ended) // MEASURED + 1]:
            if one.started_at is None:
                continue
            due_at = max(one.scheduled_at, one.created_at)  # The turn of a record may be earlier than the record.
            for numbers in self._numbers(_minute_of(one.finished_at), one.queue):
                numbers[len(COUNTED) + bucket_of(one.started_at - due_at)] += 1
                numbers[len(COUNTED) + BUCKETS + bucket_of(one.finished_at - one.started_at)] += 1

    def _numbers(self, minute: datetime, queue: str) -> list[list[int]]:
        nothing = len(COUNTED) + 2 * BUCKETS
        return [self._found.setdefault((minute, each), [0] * nothing) for each in (EVERYTHING, queue)]


def _minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def bucket_of(duration: timedelta) -> int:
    """Return the number of the bucket of a duration."""
    return min(max(0, duration // timedelta(milliseconds=1)).bit_length(), BUCKETS - 1)


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
