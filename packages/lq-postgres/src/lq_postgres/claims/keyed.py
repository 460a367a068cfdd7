"""Claims where nothing but the concurrency of keys limits the records: one statement chooses them, and claims."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Final, NamedTuple
from uuid import UUID

from lq_core.queue import Claim, Claimed, Swap
from lq_core.records.record import TaskStatus
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import keyed_claiming
from lq_postgres.storage.insertion import WakeUp
from lq_postgres.storage.rows import order_of_claim, records_from
from lq_postgres.storage.swaps import written

CHOICE_INTERVAL: Final = 1.0
"""Seconds until the next such claim, after one has found other limits."""

FARTHER: Final = 4
"""How many times as far the next claim reads, if one has not read far enough."""

FARTHEST: Final = 1000
"""Records that a claim may have to read past; for more, it is faster to choose before claiming."""


class Settled(NamedTuple):
    """What a statement answers that settles, and then finds or claims records under limits."""

    alive: bool
    may_claim: bool
    """Whether it may also claim: no other claim is under way, or has ended just now."""

    waiting: datetime | None
    """The due time of the first record that waits."""

    lost: Sequence[UUID] | None
    told: str | None


SETTLED: Final = len(Settled._fields)


class _Verdict(NamedTuple):
    """What a keyed claim answers about the records that it has read."""

    fits: bool
    """Whether there are no other limits."""

    suffices: bool
    """Whether it has read enough of them."""

    held_back: bool


_ANSWER: Final = SETTLED + len(_Verdict._fields)


class KeyedClaims:
    """Notes for which execution backends and queues such claims have found other limits, and how far they must read."""

    def __init__(self) -> None:
        self.further = 0
        """How many records more than its limit a claim has to read in order."""

        self._not_before = defaultdict[object, float](float)

    def may(self, claim: Claim) -> bool:
        """Whether the claim may find no other limits, without reading too far."""
        return self.further <= FARTHEST and monotonic() >= self._not_before[claim.execution_backends, claim.queues]

    def a_bit_less_far(self) -> int:
        """Return *further*, or a bit less, because it may be too much."""
        return max(10, self.further * 9 // 10)

    async def settle_and_claim(
        self, fetch: Fetch, swaps: Sequence[Swap], claim: Claim, wake_up: WakeUp
    ) -> tuple[Settled, Claimed | None]:
        """
        Settle, and claim if nothing but the concurrency of keys limits the records.

        This claims nothing, and answers None, if there are other limits, if it has not read far enough (the next claim
        reads farther), or if another claim is under way or has just ended.
        """
        given, sql = written(swaps, settle=keyed_claiming.SETTLE_AND_CLAIM, complete=keyed_claiming.COMPLETE_AND_CLAIM)
        further = self.a_bit_less_far()
        rows = await fetch(
            sql,
            *(*wake_up, claim.worker_id, claim.execution_backends, claim.queues, claim.limit),
            *(claim.to.value, int(claim.to is TaskStatus.RUNNING), claim.limit + further, *given),
        )
        settled, verdict = Settled(*rows[0][:SETTLED]), _Verdict(*rows[0][SETTLED:_ANSWER])
        if not settled.alive:
            return settled, Claimed(alive=False)
        if not settled.may_claim:
            return settled, None
        if not verdict.fits:
            self._not_before[claim.execution_backends, claim.queues] = monotonic() + CHOICE_INTERVAL
            return settled, None
        if not verdict.suffices:
            self.further = FARTHER * (claim.limit + further)
            return settled, None
        self.further = further
        records = sorted(records_from((row for row in rows if row[_ANSWER] is not None), _ANSWER), key=order_of_claim)
        return settled, Claimed(records=tuple(records), held_back=verdict.held_back)
