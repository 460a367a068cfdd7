"""
The answer to a held key: insert, else amend the holder, else start again.

Nothing is locked in between. A holder that was started or amended meanwhile has another epoch, and a key that was
released meanwhile lets the insert through. What comes after such a record is stored when it is certain which one it is.
"""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from lq_core.queue.messages import Insertion, Proposal, Swap
from lq_core.queue.predecessors import after_holders
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.options import OnConflict

Insert = Callable[[Sequence[QueuedTaskRecord]], Awaitable[Sequence[Insertion]]]
Amend = Callable[[Sequence[Swap]], Awaitable[Sequence[bool]]]


async def insert_or_amend(proposals: Sequence[Proposal], *, insert: Insert, amend: Amend) -> list[Insertion]:
    """Store the records or amend the holders of their keys, as proposed, and answer for each in order."""
    answers: dict[int, Insertion] = {}
    while left := [number for number in range(len(proposals)) if number not in answers]:
        swaps: dict[UUID, Swap] = {}
        amended: dict[UUID, dict[int, Insertion]] = {}
        certain = _without_successors(left, proposals)
        stored = {proposals[number].record.id: answer for number, answer in answers.items()}
        insertions = await insert([after_holders(proposals[number].record, stored) for number in certain])
        for number, insertion in zip(certain, insertions, strict=True):
            holder, wanted = insertion.record, proposals[number]
            is_kept = insertion.created or not wanted.on_conflict.amends
            if is_kept or not lifecycle.can_be_amended(holder, to=wanted.record):
                answers[number] = insertion
                continue
            # Many proposals for one holder are one write, in which the last one counts.
            swap = swaps.get(holder.id) or Swap(record=holder, epoch=holder.epoch)
            reschedule = wanted.on_conflict is OnConflict.DEBOUNCE
            after = lifecycle.amend(swap.record, to=wanted.record, reschedule=reschedule)
            swaps[holder.id] = Swap(record=after, epoch=swap.epoch)
            amended.setdefault(holder.id, {})[number] = Insertion(after, created=False, replaced=True)
        holders = sorted(swaps)  # In one order, so that concurrent writers do not deadlock.
        kept = await amend([swaps[holder] for holder in holders]) if holders else ()
        for holder, done in zip(holders, kept, strict=True):
            answers |= amended[holder] if done else {}
    return [answers[number] for number in range(len(proposals))]


def _without_successors(left: Sequence[int], proposals: Sequence[Proposal]) -> Sequence[int]:
    """Leave out what comes after records that may be amended, because one of these may still be stored instead."""
    held = {proposals[number].record.id for number in left if proposals[number].on_conflict.amends}
    successors: set[int] = set()
    found = -1
    while held and found < len(successors):
        found = len(successors)
        for number in left:
            record = proposals[number].record
            if record.after is not None and not held.isdisjoint(record.after.ids):
                held.add(record.id)
                successors.add(number)
    return [number for number in left if number not in successors]
