"""
Claims whose answer never came: they may have happened, and nobody would ever run what they took.

Each claim leaves its number in what it takes. When the database answers again, what an unanswered claim took is read,
and handed to its worker as if it had just been claimed.
"""

from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from time import monotonic
from typing import Final

from lq_core.queue.messages import Claim
from lq_core.record import QueuedTaskRecord, TaskStatus

LAST_LOOK: Final = 10.0
"""Seconds after which no claim is under way any more: even one whose connection was cut awaits no lock longer."""


class LostClaims:
    """The unanswered claims of one process; *read* brings what a worker's claim of a number has taken."""

    def __init__(self, read: Callable[[str, int], Awaitable[Sequence[QueuedTaskRecord]]]) -> None:
        self._read = read
        self._numbers = count(1)
        self._lost: dict[tuple[str, int], float] = {}
        self._next_look = 0.0
        self._found: tuple[str, int] | None = None

    def next_number(self) -> int:
        """Give a claim its number."""
        return next(self._numbers)

    def lose(self, claim: Claim, number: int) -> None:
        """Note that a claim was not answered."""
        if claim.to is TaskStatus.RUNNING:  # What is dispatched is looked after by reconciliation.
            self._lost[claim.worker_id, number] = monotonic()
            self._next_look = 0.0

    async def found(self, claim: Claim) -> tuple[QueuedTaskRecord, ...]:
        """
        Read what the worker's unanswered claims took; nothing, and at once, when all were answered.

        Only a claim that would start records is told: who reserves them for elsewhere could not run what is found.
        They are found again until they have been :meth:`handed_over`.
        """
        self._found = None
        if not self._lost or claim.to is not TaskStatus.RUNNING or monotonic() < self._next_look:
            return ()
        self._lost = {key: lost for key, lost in self._lost.items() if key[0] == claim.worker_id}
        for (worker_id, number), lost in list(self._lost.items()):
            if monotonic() - lost > LAST_LOOK:  # Also when it cannot be read: no claim fails for it again and again.
                del self._lost[worker_id, number]
            records = await self._read(worker_id, number)
            if records:
                self._found = worker_id, number
                return tuple(records)
        self._next_look = monotonic() + LAST_LOOK
        return ()

    def handed_over(self) -> None:
        """Forget the claim whose records were found: they are on their way to whoever claims."""
        if self._found is not None:
            _ = self._lost.pop(self._found, None)
            self._found = None
