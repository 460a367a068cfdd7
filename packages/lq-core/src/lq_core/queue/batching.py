"""
Group commit: callers bring one item each, and whatever waits goes to the database in one statement.

The next batch leaves when the last one is back; nobody waits for a batch to fill.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar, cast

from lq_core.errors import StorageError
from lq_core.queue.messages import Claim, Claimed, Swap

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_LIMIT = 1000
"""How many items go into one batch, so that a large backlog of callers cannot hold the database for long."""


TURNS: Final = 3
"""
After how many turns of the event loop those who are patient get their answers.

What a claim has brought is begun in the first, runs in the second, and may have ended, and be on its way to the
database, in the third. Whoever is answered then does its own work while the database does the next.
"""


_Promise: TypeAlias = tuple[asyncio.Future[Sequence[Answer]], Sequence[Answer]]
"""Where somebody waits for answers, and the answers."""

_Submission: TypeAlias = tuple[Sequence[Item], asyncio.Future[Sequence[Answer]], bool]
"""The items of one caller, where it waits for their answers, and whether it is patient."""


class GroupCommit(Generic[Item, Answer]):
    """
    Merges the items of concurrent callers into batches for *flush*.

    A batch that fails with anything but a StorageError is tried again item by item, so that
    one item that the database refuses fails alone.
    """

    def __init__(self, flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]) -> None:
        self._flush = flush
        self._waiting: list[_Submission[Item, Answer]] = []
        self._flusher: asyncio.Task[None] | None = None

    def submit(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Answer]]:
        """Hand in items; their answers come in order. Cancelling the wait for them does not take the items back."""
        return self._hand_in(items, patient=False)

    def submit_patiently(self, items: Sequence[Item]) -> asyncio.Future[Sequence[Answer]]:
        """Do what :meth:`submit` does, and let others go first when the batch has come back."""
        return self._hand_in(items, patient=True)

    def _hand_in(self, items: Sequence[Item], *, patient: bool) -> asyncio.Future[Sequence[Answer]]:
        # On its way, asking the system which loop is running is a good part of the whole.
        loop = asyncio.get_running_loop() if self._flusher is None else self._flusher.get_loop()
        answer: asyncio.Future[Sequence[Answer]] = loop.create_future()
        if not items:
            answer.set_result([])
            return answer
        self._waiting.append((items, answer, patient))
        if self._flusher is None:
            self._flusher = loop.create_task(self._flush_all())
        return answer

    async def _flush_all(self) -> None:
        try:
            while self._waiting:
                await self._flush_some(self._take())
                await asyncio.sleep(0)  # Whoever has just been answered may have something for the next batch.
        finally:
            self._flusher = None

    def _take(self) -> list[_Submission[Item, Answer]]:
        size = count = 0
        for items, _, _ in self._waiting:
            if count and size + len(items) > BATCH_LIMIT:
                break
            size += len(items)
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    async def _flush_some(self, taken: list[_Submission[Item, Answer]]) -> None:
        try:
            answers = await self._flush([item for items, _, _ in taken for item in items])
        except asyncio.CancelledError:
            for _, answer, _ in taken:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 -- whatever it is, the callers get it, and the next batch goes on
            if len(taken) == 1 or isinstance(error, StorageError):
                for _, answer, _ in taken:
                    if not answer.done():
                        answer.set_exception(error)
                return
            for one in taken:
                await self._flush_some([one])
            return
        self._answer(taken, answers)

    @staticmethod
    def _answer(taken: list[_Submission[Item, Answer]], answers: Sequence[Answer]) -> None:
        start = 0
        later: list[_Promise[Answer]] = []
        for items, answer, patient in taken:
            found = answers[start : start + len(items)]
            start += len(items)
            if patient:
                later.append((answer, found))
            elif not answer.done():
                answer.set_result(found)
        _answer_later(TURNS, later)


def _answer_later(turns: int, later: list[_Promise[Answer]]) -> None:
    if later and turns:
        asyncio.get_running_loop().call_soon(_answer_later, turns - 1, later)
        return
    for answer, found in later:
        if not answer.done():
            answer.set_result(found)


class ClaimMerger:
    """
    Merges swaps and claims into "finish these, then claim": one round trip for both.

    Swaps of any number of callers go into one batch; each batch carries at most one claim.
    """

    def __init__(
        self,
        settle_and_claim: Callable[[Sequence[Swap], Claim | None], Awaitable[tuple[Sequence[bool], Claimed]]],
    ) -> None:
        self._settle_and_claim = settle_and_claim
        self._commit = GroupCommit[Swap | Claim, bool | Claimed](self._flush)

    def swap(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Settle these swaps with the next batch."""
        return cast("Awaitable[Sequence[bool]]", self._commit.submit_patiently(swaps))

    async def claim(self, claim: Claim) -> Claimed:
        """Claim with the next batch, after its swaps."""
        (answer,) = await self._commit.submit([claim])
        assert isinstance(answer, Claimed)
        return answer

    async def _flush(self, items: Sequence[Swap | Claim]) -> Sequence[bool | Claimed]:
        swaps = [item for item in items if isinstance(item, Swap)]
        claims = [item for item in items if isinstance(item, Claim)]
        kept, claimed = await self._settle_and_claim(swaps, claims[0] if claims else None)
        answers = [claimed, *[await self._claim_next(claim) for claim in claims[1:]]]
        kept_in_order, claimed_in_order = iter(kept), iter(answers)
        return [next(claimed_in_order) if isinstance(item, Claim) else next(kept_in_order) for item in items]

    async def _claim_next(self, claim: Claim) -> Claimed:
        """Claim for one more; trouble is left to its next claim, for what the batch did before is to be answered."""
        try:
            return (await self._settle_and_claim([], claim))[1]
        except StorageError:
            return Claimed()
