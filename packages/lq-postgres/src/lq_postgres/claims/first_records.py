"""The first records of the partitions from which a claim under limits chooses, as one statement reads them."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from lq_core.queue.json_values import read_limits
from lq_core.queue.limits import Allowances, Partition, Subject

_limits: Final = lru_cache(maxsize=1000)(read_limits)  # The records of a task have the same ones.

Entry: TypeAlias = tuple[int, datetime, int, UUID]
"""The sort key of a record, and its id as a UUID of the driver."""


class First(NamedTuple):
    """The first record of a partition, and the state of its queue and its concurrency key."""

    at: datetime
    execution_backend: str
    queue: str
    draining: datetime | None
    queue_limits: str | None
    queue_running: int
    queue_full_at: datetime | None
    key: str | None
    limits: str | None
    key_running: int
    key_full_at: datetime | None
    priority: int
    scheduled_at: datetime
    id: UUID
    number: int
    """How many records of the key were read in order, or how many keys were walked."""

    place: str
    """The queue in whose order the key was found; empty for that of all queues but the default one."""

    def partition(self, entries: Sequence[Entry] = ()) -> Partition[Entry]:
        """Make a partition of these records, or of the first one."""
        return Partition(
            self.queue,
            iter(sorted(entries) if entries else (entry_of(self.priority, self.scheduled_at, self.id),)),
            key=self.key,
            limits=_limits(self.limits),
            queue_limits=_limits(self.queue_limits),
        )


def entry_of(priority: int, scheduled_at: datetime, id_: UUID) -> Entry:
    """Make the entry of a record, for the order of claims."""
    return -priority, scheduled_at, id_.int, id_


def partitions_of(firsts: Sequence[First]) -> list[Partition[Entry]]:
    """Make a partition of each first record."""
    return [first.partition() for first in firsts]


def suffice(
    firsts: Sequence[First], partitions: Sequence[Partition[Entry]], allowances: Allowances, *, size: int, limit: int
) -> bool:
    """
    Whether no other record can be one of the *limit* records to choose.

    That is so where all records of a queue were read, or where *limit* of those that were read may start.
    """
    read, startable = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    of_key = Counter[str]()
    for first, partition in zip(firsts, partitions, strict=True):
        place = first.execution_backend, first.place
        read[place] += first.number
        if first.key is not None:
            # Partitions of one key share its room.
            room = min(first.number, allowances.room(partition.by_key, limit) - of_key[first.key])
            of_key[first.key] += max(0, room)
            startable[place] += max(0, room)
    return all(number < size or startable[place] >= limit for place, number in read.items())


def allowances_of(firsts: Sequence[First]) -> Allowances:
    """Count what runs, and read the buckets, from the first records."""
    if not firsts:
        return Allowances(datetime.max.replace(tzinfo=UTC), running=lambda _: 0, full_at=lambda _: None)
    known: dict[Subject, tuple[int, datetime | None]] = {}
    for first in firsts:
        known[Subject("queue", first.queue)] = first.queue_running, first.queue_full_at
        if first.key is not None:
            known[Subject("key", first.key)] = first.key_running, first.key_full_at
    return Allowances(
        firsts[0].at, running=lambda subject: known[subject][0], full_at=lambda subject: known[subject][1]
    )
