"""
The order in which the records of one batch are stored, if some come after others whose keys may be held.

If a key is held, what comes after the record that is not stored comes after the holder of its key.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from msgspec.structs import replace

from lq_core.queue.messages import Insertion
from lq_core.records.record import QueuedTaskRecord


def follow_keys(records: Sequence[QueuedTaskRecord]) -> bool:
    """Whether one of these records comes after another one that has a key."""
    after = [record.after for record in records if record.after is not None]
    if not after:
        return False
    keyed = {record.id for record in records if record.key is not None}
    return any(not keyed.isdisjoint(one.ids) for one in after)


def waves(records: Sequence[QueuedTaskRecord]) -> Iterator[Sequence[QueuedTaskRecord]]:
    """Yield the records in waves: first those that come after no other one of them, then those that follow those."""
    if not follow_keys(records):
        yield records
        return
    given = {record.id for record in records}
    missing = Counter[UUID]()
    followers = defaultdict[UUID, list[QueuedTaskRecord]](list)
    for record in records:
        for one in given.intersection(record.after.ids if record.after else ()):
            missing[record.id] += 1
            followers[one].append(record)
    wave = [record for record in records if not missing[record.id]]
    while wave:
        yield wave
        ready: list[QueuedTaskRecord] = []
        for follower in (each for record in wave for each in followers[record.id]):
            missing[follower.id] -= 1
            if not missing[follower.id]:
                ready.append(follower)
        wave = ready


def after_holders(record: QueuedTaskRecord, stored: Mapping[UUID, Insertion]) -> QueuedTaskRecord:
    """Let a record come after the holders of the keys, where records that it names were not stored."""
    if record.after is None or not stored:
        return record
    ids = dict.fromkeys(stored[one].record.id if one in stored else one for one in record.after.ids)
    return replace(record, after=replace(record.after, ids=tuple(ids)))
