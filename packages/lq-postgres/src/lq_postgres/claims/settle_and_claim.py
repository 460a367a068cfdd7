"""Settling and claiming, which workers do all the time, in one statement where possible."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final

from msgspec.structs import replace

from lq_core.foundation.errors import StorageError
from lq_core.queue import Claim, Claimed, Swap
from lq_core.records.record import OWNED, TaskStatus
from lq_postgres.claims.bookmarks import Bookmarks
from lq_postgres.claims.dead_workers import know
from lq_postgres.claims.left_out import LeftOut
from lq_postgres.claims.limits import LimitedClaims
from lq_postgres.connection.clock import DatabaseClock
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.crowd import Crowd
from lq_postgres.connection.driver import Fetch
from lq_postgres.connection.faults import NotifyQueueFullError, ReadOnlyServerError
from lq_postgres.statements import claiming, due_records, plain_claiming
from lq_postgres.statements.versions import NOTIFY
from lq_postgres.storage.fairness import give_turns_again, give_turns_to_due
from lq_postgres.storage.insertion import WakeUp
from lq_postgres.storage.rows import order_of_claim, records_from
from lq_postgres.storage.swaps import answers_to, completions, in_waves, written

PROMOTION_LIMIT: Final = 1000
"""The most waiting records that one statement makes ready."""

PLAIN_INTERVAL: Final = 1.0
"""Seconds until the next plain claim, after one has found that there is something to choose or a limit."""

LONGEST_PLAIN_INTERVAL: Final = 60.0
"""The longest such time; it doubles each time a plain claim finds that again, because each was one statement more."""

FEW: Final = 10
"""A claim from this many partitions may be plain."""

_NO_CLAIM: Final = (None,) * 7
_LIMITED: Final = 2
_LOST: Final = 5
_ANSWER: Final = 8
"""The number of columns before those of a claimed record; two of them are ``limited`` and ``lost``."""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)


class Settler:
    """
    Settles and claims; *wake_up* gives each statement the wake-up for as many records as it may bring.

    It calls *wake* when the next claim finds a record that earlier ones have left out.
    """

    def __init__(
        self,
        connections: Connections,
        clock: DatabaseClock,
        crowd: Crowd,
        wake_up: Callable[[int], WakeUp],
        wake: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._crowd = crowd
        self._wake_up = wake_up
        self.limited = LimitedClaims(connections, clock)
        self._bookmarks = Bookmarks()
        self._left_out = LeftOut(connections, clock, self._bookmarks, wake)
        self._promote_at = _EARLIEST
        self._plain_from = defaultdict[object, float](float)
        """When the next claim of each combination of execution backends and queues may be plain."""

        self._plain_interval = defaultdict[object, float](lambda: PLAIN_INTERVAL)

        self._limited_until = defaultdict[object, float](float)
        """Until when a claim expects limits."""

    def expect(self, moment: datetime) -> None:
        """Note that a record becomes due at this moment."""
        self._promote_at = min(self._promote_at, moment)

    async def settle_and_claim(self, swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        """Swap records, then claim due ones."""
        running = [swap.record.worker_id for swap in swaps if swap.record.status is TaskStatus.RUNNING]
        await know(self._connections, running)
        swaps, moment = await give_turns_again(self._connections.fetch, swaps, now=self._clock.now())
        kept: list[bool] = []
        waves = list(in_waves(swaps))
        started = [swap.record.id for swap in swaps if swap.record.status in OWNED and swap.epoch < swap.record.epoch]
        for wave in waves if claim is None or started else waves[:-1]:
            at, channel, wake_up = self._wake_up(len(wave))
            kept += await settle_by(self._connections.fetch, (moment or at, channel, wake_up), wave)
        await self.limited.count_in(started)
        if claim is None:
            return kept, Claimed()
        last = waves[-1] if waves and not started else ()
        answers, claimed = await self._settle_and_claim(last, claim, moment)
        return [*kept, *answers], claimed

    async def close(self) -> None:
        """End what runs beside claims."""
        await self._left_out.close()

    async def next_due(self, claim: Claim) -> datetime | None:
        """Return when a claim can next find a record; None if nothing waits for it."""
        [[due, later, limited]] = await self._connections.fetch(
            due_records.NEXT_DUE, claim.execution_backends, claim.queues, self._clock.at()
        )
        openings = await self.limited.openings(claim) if limited else ()
        if due is not None:
            due = min(due, self._clock.now())  # The turn of a due record may lie ahead, by microseconds.
        return min((moment for moment in (due, later, *openings) if moment is not None), default=None)

    async def _settle_and_claim(
        self, swaps: Sequence[Swap], claim: Claim, moment: datetime | None
    ) -> tuple[Sequence[bool], Claimed]:
        if self._promote_at <= self._clock.now():
            await self._promote()
        kept, claimed, is_all = await self._run(swaps, claim, moment)
        try:
            while claimed.alive and len(claimed.records) < claim.limit:
                if is_all and not (self._promote_at <= self._clock.now() and await self._promote()):
                    return kept, self._with_next_look(claim, claimed)
                missing = replace(claim, limit=claim.limit - len(claimed.records))
                _, more, is_all = await self._run((), missing)
                if not more.alive:  # The worker was declared dead since, and keeps its earlier claims.
                    break
                records = sorted(claimed.records + more.records, key=order_of_claim)
                claimed = replace(more, records=tuple(records))
        except StorageError:  # The earlier claims have succeeded, so they are the answer.
            claimed = replace(claimed, uncertain=True)
        return kept, claimed

    async def _run(
        self, swaps: Sequence[Swap], claim: Claim, moment: datetime | None = None
    ) -> tuple[Sequence[bool], Claimed, bool]:
        """Run the statement that fits; the last answer is whether it found all that this claim has to find."""
        since = monotonic()
        scope = claim.execution_backends, claim.queues
        if since < self._limited_until[scope] and claim.limit:
            with suppress(NotifyQueueFullError, ReadOnlyServerError):  # Nothing was done, and the next try may succeed.
                return *await self._run_limited(swaps, claim, moment), True
        began, ranges = self._clock.now(), self._bookmarks.of(claim)
        wake_up = self._announcing(swaps, moment)
        given = *wake_up, *_claim(claim), ranges and ranges.json
        is_small = len(claim.execution_backends) * len(claim.queues or "12") <= FEW
        # Where a partition has several ranges, a plain claim would lock more than it takes.
        is_plain = is_small and since >= self._plain_from[scope] and not (ranges and ranges.several)
        statements = plain_claiming if is_plain else claiming
        settled, sql = written(swaps, complete=statements.COMPLETE_AND_CLAIM, settle=statements.SETTLE_AND_CLAIM)
        rows = await self._connections.fetch(sql, *given, *settled)
        kept = answers_to(swaps, rows[0][_LOST])
        if is_plain and not rows[0][_LIMITED]:
            self._plain_interval[scope] = PLAIN_INTERVAL
        elif is_plain and claim.limit:
            self._plain_from[scope] = since + self._plain_interval[scope]
            self._plain_interval[scope] = min(2 * self._plain_interval[scope], LONGEST_PLAIN_INTERVAL)
            try:
                rows = await self._connections.fetch(claiming.COMPLETE_AND_CLAIM, *given, *completions(()))
            except StorageError:
                if not swaps:
                    raise
                return kept, Claimed(uncertain=True), True
        alive, waiting, limited, walked, took = rows[0][:_LOST]
        self._promote_at = _LATEST if waiting is None else waiting
        found = rows if rows[0][_ANSWER] is not None else ()
        records = sorted(records_from(found, _ANSWER), key=order_of_claim)
        if limited or not alive:
            self._bookmarks.forget(claim)
        else:
            # A record that has not been made ready yet is none of those that were found.
            until, from_front_in = min(began, self._promote_at), None if ranges else took
            self._bookmarks.keep(claim, records, until=until, from_front_in=from_front_in, walked=walked)
        if limited and alive and claim.limit:
            self._limited_until[scope] = since + PLAIN_INTERVAL
            claimed = await self.limited.claim_after(swaps, claim)
            await self._announce(claimed, wake_up, since=since)
            return kept, claimed, True
        if not limited:
            self._crowd.claimed(len(records), took=monotonic() - since)
        self._left_out.look(claim)
        is_all = ranges is None or self._bookmarks.next_look_in(claim) is not None
        return kept, Claimed(records=tuple(records), alive=alive), is_all

    def _with_next_look(self, claim: Claim, claimed: Claimed) -> Claimed:
        seconds = self._bookmarks.next_look_in(claim)
        if seconds is None:
            return claimed
        moment = self._clock.now() + timedelta(seconds=seconds)
        return replace(claimed, next_look=min(moment, self._promote_at))

    async def _run_limited(
        self, swaps: Sequence[Swap], claim: Claim, moment: datetime | None
    ) -> tuple[Sequence[bool], Claimed]:
        since = monotonic()
        wake_up = self._announcing(swaps, moment)
        settled, claimed = await self.limited.settle_and_claim(swaps, claim, wake_up)
        self._promote_at = settled.waiting or _LATEST
        if claimed is None:
            claimed = await self.limited.claim_after(swaps, claim)
        claimed = claimed if settled.alive else Claimed(alive=False)
        await self._announce(claimed, wake_up, since=since)
        return answers_to(swaps, settled.lost), claimed

    def _announcing(self, swaps: Sequence[Swap], moment: datetime | None) -> WakeUp:
        at, channel, wake_up = self._wake_up(len(swaps))
        return moment or at, channel, self._crowd.announcing(wake_up)

    async def _announce(self, claimed: Claimed, wake_up: WakeUp, *, since: float) -> None:
        """Say what a claim under limits has taken, which the other claims say themselves."""
        _, channel, text = wake_up
        if text.endswith("!!" if not claimed.records else "!"):
            with suppress(StorageError):  # The claim has succeeded.
                _ = await self._connections.fetch(NOTIFY, channel, f"-{len(claimed.records)} {text}")
        self._crowd.claimed(len(claimed.records), took=monotonic() - since)

    async def _promote(self) -> bool:
        rows = await self._connections.fetch(due_records.PROMOTE, self._clock.at(), PROMOTION_LIMIT)
        await give_turns_to_due(self._connections.fetch, [row[1:] for row in rows if row[1] is not None])
        return rows[0][0] > 0


async def settle_by(fetch: Fetch, wake_up: WakeUp, swaps: Sequence[Swap]) -> list[bool]:
    """Swap different records, and answer for each whether its epoch was the expected one."""
    given, sql = written(swaps, complete=claiming.COMPLETE, settle=claiming.SETTLE)
    [[lost, _]] = await fetch(sql, *wake_up, *_NO_CLAIM, *given)
    return answers_to(swaps, lost)


def _claim(claim: Claim) -> tuple[object, ...]:
    """Write a claim as the parameters $4 to $9."""
    return (
        *(claim.worker_id, claim.execution_backends, claim.queues, claim.limit),
        *(claim.to.value, int(claim.to is TaskStatus.RUNNING)),
    )
