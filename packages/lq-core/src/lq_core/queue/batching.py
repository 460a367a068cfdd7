"""
Group commit: callers submit items, and the items that wait go to the database in one statement.

The next batch starts when the last one returns; no batch waits to fill.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, Generic, TypeAlias, TypeVar, cast

from msgspec import Struct

from lq_core.foundation.begun_task import begin, first_turn
from lq_core.foundation.errors import StorageError
from lq_core.queue.messages import Claim, Claimed, Swap
from lq_core.queue.own_loop import OwnLoop

Item = TypeVar("Item")
Answer = TypeVar("Answer")

BATCH_LIMIT = 1000
"""The most items in one batch, so that many waiting callers do not hold the database for long."""

TURNS: Final = 3
"""
After how many turns of the event loop a patient caller gets its answer.

A claimed record is started in the first turn, runs in the second, and may be settled in the third. The patient caller
then works while the database handles the next batch.
"""

CANCELLED: Final = "The asyncio task of lq that stores a batch was cancelled: it may be stored, or not."

_Promise: TypeAlias = tuple[asyncio.Future[Sequence[Answer]], Sequence[Answer]]

_Submission: TypeAlias = tuple[Sequence[Item], asyncio.Future[Sequence[Answer]], bool]
"""The items of one caller, the future of their answers, and whether the caller is patient."""


class GroupCommit(Generic[Item, Answer]):
    """
    Merges the items of concurrent callers into batches for *flush*.

    A batch that fails with anything but a StorageError is repeated caller by caller, so that an item that the database
    refuses fails alone. With *at_once*, each caller is a batch of its own.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Coroutine[None, None, Sequence[Answer]]],
        own_loop: OwnLoop | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._flush = flush
        self._own_loop = own_loop or OwnLoop()
        self._at_once = at_once
        self._waiting: list[_Submission[Item, Answer]] = []
        self._flusher: asyncio.Task[None] | None = None

    def submit(self, items: Sequence[Item], *, patient: bool = False) -> asyncio.Future[Sequence[Answer]]:
        """
        Add items to the next batch; the answers are in the order of the items.

        A *patient* caller is answered after the others of its batch. Cancelling the future does not remove the items.
        Raises ConfigurationError in a foreign event loop.
        """
        self._own_loop.check()
        if self._at_once:
            return asyncio.ensure_future(self._flush(items))
        # get_running_loop is slow, and the flusher knows its loop.
        loop = asyncio.get_running_loop() if self._flusher is None else self._flusher.get_loop()
        answer: asyncio.Future[Sequence[Answer]] = loop.create_future()
        if not items:
            answer.set_result([])
            return answer
        self._waiting.append((items, answer, patient))
        if self._flusher is None:
            self._flusher = begin(loop, self._flush_all())
        return answer

    def refuse(self, error: Exception, *, which: Callable[[Item], bool]) -> None:
        """Refuse the callers that wait with one such item."""
        refused = [one for one in self._waiting if which(one[0][0])]
        self._waiting = [one for one in self._waiting if not which(one[0][0])]
        _refuse(refused, error)

    def _refuse_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        _refuse(waiting, StorageError(CANCELLED))

    async def _flush_all(self) -> None:
        taken: list[_Submission[Item, Answer]] = []
        try:
            await first_turn()
            while self._waiting:
                taken = self._take()
                await self._flush_some(taken)
                taken = []
                await asyncio.sleep(0)  # A caller that was just answered may add to the next batch.
        finally:
            self._flusher = None
            self._waiting[:0] = taken
            self._refuse_all()  # Nothing waits, unless it was cancelled, or its event loop ends.

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
        except Exception as error:  # noqa: BLE001 -- the callers get the error, and the next batch runs
            if len(taken) == 1 or isinstance(error, StorageError):
                _refuse(taken, error)
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


def _refuse(taken: Sequence[_Submission[Item, Answer]], error: Exception) -> None:
    for _, answer, _ in taken:
        if not answer.done():
            answer.set_exception(error)


def _answer_later(turns: int, later: list[_Promise[Answer]]) -> None:
    if later and turns:
        asyncio.get_running_loop().call_soon(_answer_later, turns - 1, later)
        return
    for answer, found in later:
        if not answer.done():
            answer.set_result(found)


class _Request(Struct):
    claim: Claim
    answer: asyncio.Future[Sequence[bool | Claimed]] | None = None

    @property
    def is_withdrawn(self) -> bool:
        """Whether the caller was cancelled."""
        return self.answer is not None and self.answer.cancelled()


class ClaimMerger:
    """
    Merges swaps and claims, so that one round trip settles records and then claims others.

    A call has the swaps of any number of callers and at most one claim.
    """

    def __init__(
        self,
        settle_and_claim: Callable[[Sequence[Swap], Claim | None], Awaitable[tuple[Sequence[bool], Claimed]]],
        own_loop: OwnLoop | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        self._settle_and_claim = settle_and_claim
        self._commit = GroupCommit[Swap | _Request, bool | Claimed](self._flush, own_loop, at_once=at_once)

    def swap(self, swaps: Sequence[Swap]) -> Awaitable[Sequence[bool]]:
        """Settle these swaps with the next batch."""
        return cast("Awaitable[Sequence[bool]]", self._commit.submit(swaps, patient=True))

    async def claim(self, claim: Claim) -> Claimed:
        """Claim with the next batch, after its swaps. If you cancel it before the batch leaves, it takes nothing."""
        request = _Request(claim)
        request.answer = self._commit.submit([request])
        (answer,) = await request.answer
        assert isinstance(answer, Claimed)
        return answer

    async def _flush(self, items: Sequence[Swap | _Request]) -> Sequence[bool | Claimed]:
        swaps = [item for item in items if isinstance(item, Swap)]
        requests = [item for item in items if isinstance(item, _Request)]
        first = next((request for request in requests if not request.is_withdrawn), None)
        try:
            kept, claimed = await self._settle_and_claim(swaps, None if first is None else first.claim)
        except StorageError as error:
            if swaps:  # A claim that waits counts on their slots.
                self._commit.refuse(error, which=lambda item: isinstance(item, _Request))
            raise
        answers = [claimed if each is first else await self._claim_next(each) for each in requests]
        kept_in_order, claimed_in_order = iter(kept), iter(answers)
        return [next(claimed_in_order) if isinstance(item, _Request) else next(kept_in_order) for item in items]

    async def _claim_next(self, request: _Request) -> Claimed:
        """Make one more claim; an error leaves it uncertain, so that the rest of the batch is answered."""
        if request.is_withdrawn:
            return Claimed()
        try:
            return (await self._settle_and_claim([], request.claim))[1]
        except StorageError:
            return Claimed(uncertain=True)
