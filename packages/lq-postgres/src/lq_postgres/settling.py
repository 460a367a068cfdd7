"""Settling and claiming: what workers ask for again and again, in one statement as far as it goes."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Final, TypeAlias

from msgspec.structs import replace

from lq_core.errors import StorageError
from lq_core.queue import Claim, Claimed, Swap
from lq_core.record import OWNED, QueuedTaskRecord, TaskStatus
from lq_postgres.bookmarks import Bookmarks
from lq_postgres.clock import DatabaseClock
from lq_postgres.connections import Connections
from lq_postgres.driver import Row
from lq_postgres.insertion import Fetch
from lq_postgres.limits import LimitedClaims
from lq_postgres.lost_claims import LostClaims
from lq_postgres.orphans import know
from lq_postgres.rows import are_completions, completions, order_of_claim, records_from, swapped
from lq_postgres.statements import claiming
from lq_postgres.swaps import answers_to, in_waves

PROMOTION_LIMIT: Final = 1000
"""How many waiting records one statement makes ready."""

WakeUp: TypeAlias = tuple[datetime | None, str, str]
"""The moment (None for the database's own), the channel and the sender of a notification."""

_NO_CLAIM: Final = (None,) * 8
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class Settler:
    """Settles and claims; *wake_up* tells what goes with every statement that may bring work."""

    def __init__(self, connections: Connections, clock: DatabaseClock, wake_up: Callable[[], WakeUp]) -> None:
        self._connections = connections
        self._clock = clock
        self._wake_up = wake_up
        self._lost = LostClaims(self._taken_by)
        self.limited = LimitedClaims(connections, clock, self._lost)
        """Who claims where there are limits."""
        self._bookmarks = Bookmarks()
        self._promote_at = _EARLIEST

    def expect(self, moment: datetime) -> None:
        """Note that a record will be due then."""
        self._promote_at = min(self._promote_at, moment)

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        """Swap records, then claim due ones."""
        running = [swap.record.worker_id for swap in swaps if swap.record.status is TaskStatus.RUNNING]
        await know(self._connections, running)
        kept: list[bool] = []
        waves = list(in_waves(swaps))
        started = [swap.record.id for swap in swaps if swap.record.status in OWNED and swap.epoch < swap.record.epoch]
        for wave in waves if claim is None or started else waves[:-1]:
            kept += await settle_by(self._connections.fetch, self._wake_up(), wave)
        await self.limited.count_in(started)
        if claim is None:
            return kept, Claimed()
        last = waves[-1] if waves and not started else ()
        answers, claimed = await self._settle_and_claim(last, claim)
        return [*kept, *answers], claimed

    async def _settle_and_claim(self, swaps: Sequence[Swap], claim: Claim) -> tuple[Sequence[bool], Claimed]:
        found = await self._lost.found(claim)
        if found:
            claim = Claim(worker_id=claim.worker_id, limit=0, execution_backends=())
        if self._promote_at <= self._clock.now():
            await self._promote()
        kept, claimed, from_front = await self._run(swaps, claim)
        self._lost.handed_over()
        with suppress(StorageError):  # What was claimed before has been, and is answered; what was not is claimed next.
            while claimed.alive and len(claimed.records) < claim.limit:
                if from_front and not (self._promote_at <= self._clock.now() and await self._promote()):
                    break
                missing = replace(claim, limit=claim.limit - len(claimed.records))
                _, more, from_front = await self._run((), missing)
                if not more.alive:  # Declared dead in between: what it has taken before, it has.
                    break
                records = sorted(claimed.records + more.records, key=order_of_claim)
                claimed = replace(more, records=tuple(records))
        return kept, replace(claimed, records=found + claimed.records)

    async def _run(self, swaps: Sequence[Swap], claim: Claim) -> tuple[Sequence[bool], Claimed, bool]:
        """Run the statement; tell also whether it has looked from the front."""
        number = self._lost.next_number()
        since = monotonic()
        marks = self._bookmarks.of(claim)
        try:
            rows = await _fetch(
                self._connections.fetch,
                self._wake_up(),
                swaps,
                claim.worker_id,
                claim.execution_backends,
                claim.queues,
                claim.limit,
                claim.to.value,
                int(claim.to is TaskStatus.RUNNING),
                number,
                marks,
                complete=claiming.COMPLETE_AND_CLAIM,
                settle=claiming.SETTLE_AND_CLAIM,
            )
        except BaseException:
            if claim.limit:
                self._lost.lose(claim, number)
            raise
        alive, waiting, limited, lost, _ = rows[0][:5]
        self._promote_at = _LATEST if waiting is None else waiting
        found = rows if rows[0][5] is not None else ()
        records = sorted(records_from(found, 5), key=order_of_claim)
        self._bookmarks.keep(claim, records, took=None if marks else monotonic() - since)
        if limited and alive and claim.limit:
            return answers_to(swaps, lost), await self.limited.claim_after(swaps, claim, number), True
        return answers_to(swaps, lost), Claimed(records=tuple(records), alive=alive), marks is None

    async def _taken_by(self, worker_id: str, number: int) -> Sequence[QueuedTaskRecord]:
        return records_from(await self._connections.read_whole(claiming.RECOVER, worker_id, number))

    async def _promote(self) -> bool:
        return bool(await self._connections.fetch(claiming.PROMOTE, self._clock.at(), PROMOTION_LIMIT))


async def settle_by(fetch: Fetch, wake_up: WakeUp, swaps: Sequence[Swap]) -> list[bool]:
    """Swap different records, and say for each whether its epoch was still the expected one."""
    [[lost, _]] = await _fetch(fetch, wake_up, swaps, *_NO_CLAIM, complete=claiming.COMPLETE, settle=claiming.SETTLE)
    return answers_to(swaps, lost)


async def _fetch(
    fetch: Fetch, wake_up: WakeUp, swaps: Sequence[Swap], *claim: object, complete: str, settle: str
) -> Sequence[Row]:
    if are_completions(swaps):
        return await fetch(complete, *wake_up, *claim, *completions(swaps))
    return await fetch(settle, *wake_up, *claim, *swapped(swaps))
