"""
What is done when a key is held: insert, else amend the holder, else begin again.

Nothing is locked in between. A holder that has been started or amended meanwhile has another epoch, and a key that
has become free lets the insert through.
"""

from collections.abc import Awaitable, Callable, Sequence

from lq_core import lifecycle
from lq_core.options import OnConflict
from lq_core.queue.messages import Insertion, Proposal, Swap
from lq_core.record import QueuedTaskRecord

Insert = Callable[[Sequence[QueuedTaskRecord]], Awaitable[Sequence[Insertion]]]
Amend = Callable[[Sequence[Swap]], Awaitable[Sequence[bool]]]


async def insert_or_amend(proposals: Sequence[Proposal], *, insert: Insert, amend: Amend) -> list[Insertion]:
    """Store the records, or amend the holders of their keys as is proposed, and answer for each in order."""
    answers: dict[int, Insertion] = {}
    while len(answers) < len(proposals):
        left = [number for number in range(len(proposals)) if number not in answers]
        insertions = await insert([proposals[number].record for number in left])
        amendments = _Amendments()
        for number, insertion in zip(left, insertions, strict=True):
            holder, wanted = insertion.record, proposals[number]
            if (
                insertion.created
                or not wanted.on_conflict.amends
                or not lifecycle.can_be_amended(holder, to=wanted.record)
            ):
                answers[number] = insertion
            else:
                amendments.add(number, holder, wanted)
        answers |= await amendments.made_by(amend)
    return [answers[number] for number in range(len(proposals))]


class _Amendments:
    """What is to be made of each holder: many proposals for one are one write, in which the last one counts."""

    def __init__(self) -> None:
        self._swaps: dict[int, Swap] = {}
        self._answers: dict[int, dict[int, Insertion]] = {}

    def add(self, number: int, holder: QueuedTaskRecord, proposal: Proposal) -> None:
        """Amend a holder once more."""
        swap = self._swaps.get(holder.id.int)
        epoch, before = (holder.epoch, holder) if swap is None else (swap.epoch, swap.record)
        reschedule = proposal.on_conflict is OnConflict.DEBOUNCE
        after = lifecycle.amend(before, to=proposal.record, reschedule=reschedule)
        self._swaps[holder.id.int] = Swap(record=after, epoch=epoch)
        answer = Insertion(after, created=False, replaced=True)
        self._answers.setdefault(holder.id.int, {})[number] = answer

    async def made_by(self, amend: Amend) -> dict[int, Insertion]:
        """Write them, and answer for those whose holder was still as it had been seen."""
        if not self._swaps:
            return {}
        holders = sorted(self._swaps)
        kept = await amend([self._swaps[holder] for holder in holders])
        made = [self._answers[holder] for holder, done in zip(holders, kept, strict=True) if done]
        return {number: insertion for answers in made for number, insertion in answers.items()}
