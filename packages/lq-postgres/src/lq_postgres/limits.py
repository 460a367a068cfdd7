"""
Claims where there are limits, and the state of the queues that have some.

Such claims take turns, by a lock that ends with the transaction: so none is too many, also behind PgBouncer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

from msgspec import json

from lq_core.errors import StorageError
from lq_core.queue import Claim, Claimed, QueueState, Swap
from lq_core.queue.limits import Allowances, Lane, Subject, pick
from lq_core.queue.nested import STRICT, read_limits
from lq_core.record import Limits, QueuedTaskRecord, TaskStatus
from lq_postgres.clock import DatabaseClock
from lq_postgres.connections import Connections
from lq_postgres.insertion import Fetch
from lq_postgres.lost_claims import LostClaims
from lq_postgres.rows import order_of_claim, records_from
from lq_postgres.statements import limiting, upkeep

Place: TypeAlias = tuple[int, datetime, int, UUID]
"""A record in the order of claims, and its id as the driver has it."""

ROUNDS: Final = 100
"""How often it is tried to count a record in that somebody's transaction holds, 50 ms apart."""


class First(NamedTuple):
    """The first record of a lane, and how its queue and its concurrency key stand."""

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

    def subjects(self) -> Mapping[Subject, tuple[int, datetime | None]]:
        """What runs of the queue and under the key, and when their buckets will be full."""
        queue = {Subject("queue", self.queue): (self.queue_running, self.queue_full_at)}
        return queue if self.key is None else {**queue, Subject("key", self.key): (self.key_running, self.key_full_at)}

    def lane(self, *rest: Place) -> Lane[Place]:
        """The lane, with what stands behind the first record."""
        places = chain([_place(self.priority, self.scheduled_at, self.id)], sorted(rest))
        return Lane(
            self.queue,
            places,
            key=self.key,
            limits=read_limits(self.limits),
            queue_limits=read_limits(self.queue_limits),
        )


class LimitedClaims:
    """Chooses among records that have limits, and knows the state of the queues."""

    def __init__(self, connections: Connections, clock: DatabaseClock, lost_claims: LostClaims) -> None:
        self._connections = connections
        self._clock = clock
        self._lost_claims = lost_claims
        self._unreadable: Mapping[str, str] = {}
        """The limits of queues of which nothing could be made, as they are stored."""

    async def claim_after(self, swaps: Sequence[Swap], claim: Claim, number: int) -> Claimed:
        """
        Claim what may start, when no other such claim is under way.

        What was settled before has been, and its owners have to learn it: then trouble is left to the next claim.
        """
        try:
            return await self._claim(claim, number)
        except BaseException as error:
            self._lost_claims.lose(claim, number)
            if not swaps or not isinstance(error, StorageError):
                raise
            return Claimed()

    async def _claim(self, claim: Claim, number: int) -> Claimed:
        async with self._connections.transaction() as fetch:
            _ = await fetch(limiting.LOCK)
            firsts = await self._firsts(fetch, claim)
            if not firsts:
                return Claimed()
            allowances = _allowances(firsts)
            rest = await self._rest(fetch, firsts, allowances, claim.limit)
            lanes = [first.lane(*rest.get(place, ())) for place, first in enumerate(firsts)]
            picked, held_back = pick(lanes, claim.limit, allowances)
            rows = await fetch(
                limiting.CLAIM_CHOSEN,
                *(firsts[0].at, claim.worker_id, [place[-1] for place in picked], claim.to.value),
                *(int(claim.to is TaskStatus.RUNNING), number, _limiting(lanes)),
            )
            alive: bool = rows[0][0]
            records = sorted(records_from((row for row in rows if row[1] is not None), 1), key=order_of_claim)
            if len(records) < len(picked):
                allowances = _allowances_spent_on(records, firsts)
            if alive and allowances.changed:
                buckets = [(*subject, full_at) for subject, full_at in allowances.changed.items()]
                _ = await fetch(limiting.KEEP_BUCKETS, *map(list, zip(*buckets, strict=True)))
                _ = await fetch(limiting.DROP_FULL_BUCKETS, firsts[0].at)
        return Claimed(records=tuple(records), alive=alive, held_back=held_back)

    async def openings(self, claim: Claim) -> Sequence[datetime]:
        """Tell for each lane in which something is due when it may start, unless another has to end before."""
        firsts = await self._firsts(self._connections.fetch, claim)
        if not firsts:
            return []
        allowances = _allowances(firsts)
        moments = (allowances.opens_at(first.lane()) for first in firsts)
        return [moment for moment in moments if moment is not None]

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the state of the queues that somebody has set one for."""
        rows = await self._connections.fetch(upkeep.QUEUES)
        self._unreadable = {name: limits for name, _, limits, _ in rows if limits and read_limits(limits) is None}
        return {
            name: QueueState(paused=paused, limits=read_limits(limits), draining=draining)
            for name, paused, limits, draining in rows
        }

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState, *wake_up: str) -> bool:
        """Keep *new* as the state of a queue if *old* is what is kept; what runs is counted before this returns."""
        paused, limits, draining = _columns(old)
        limits = limits or self._unreadable.get(queue)
        rows = await self._connections.fetch(
            upkeep.SWAP_QUEUE, queue, *_columns(new), paused, limits, draining, old == QueueState(), *wake_up
        )
        if rows and new.limits is not None and new.limits.concurrency is not None:
            async with self._connections.transaction() as fetch:
                _ = await fetch(limiting.LOCK)
                _ = await fetch(limiting.AWAIT_CLAIMS)
            for _ in range(ROUNDS):
                if not await self._connections.read_whole(limiting.COUNT_IN, queue):
                    break
                await asyncio.sleep(0.05)
        return bool(rows)

    async def count_in(self, started: Sequence[UUID]) -> None:
        """Count what was started without a claim, if its queue has a limit."""
        if started:
            _ = await self._connections.fetch(limiting.COUNT_IN_THESE, started)

    async def _firsts(self, fetch: Fetch, claim: Claim) -> Sequence[First]:
        rows = await fetch(limiting.FIRSTS, self._clock.at(), claim.execution_backends, claim.queues)
        return [First(*row) for row in rows]

    async def _rest(
        self, fetch: Fetch, firsts: Sequence[First], allowances: Allowances, limit: int
    ) -> Mapping[int, list[Place]]:
        lanes = [
            (number, first.execution_backend, first.queue, first.key, first.draining, size)
            for number, first in enumerate(firsts)
            if (size := allowances.room(first.lane(), limit)) > 1
        ]
        rest: dict[int, list[Place]] = {}
        if lanes:
            known = {first.id for first in firsts}
            rows = await fetch(limiting.REST, self._clock.at(), *map(list, zip(*lanes, strict=True)))
            for number, priority, scheduled_at, id_ in rows:
                if id_ not in known:
                    rest.setdefault(number, []).append(_place(priority, scheduled_at, id_))
        return rest


def _place(priority: int, scheduled_at: datetime, id_: UUID) -> Place:
    return -priority, scheduled_at, id_.int, id_


def _allowances(firsts: Sequence[First]) -> Allowances:
    known = {subject: stand for first in firsts for subject, stand in first.subjects().items()}
    at = firsts[0].at
    count, full_at = itemgetter(0), itemgetter(1)
    return Allowances(
        at, running=lambda subject: count(known[subject]), full_at=lambda subject: full_at(known[subject])
    )


def _allowances_spent_on(records: Sequence[QueuedTaskRecord], firsts: Sequence[First]) -> Allowances:
    """Spend anew, on what was started alone: the rest of what was chosen is in somebody's transaction."""
    allowances = _allowances(firsts)
    lanes = {(first.execution_backend, first.queue, first.key): first.lane() for first in firsts}
    for record in records:
        _ = allowances.admit(lanes[record.execution_backend, record.queue, record.concurrency_key])
    return allowances


def _limiting(lanes: Sequence[Lane[Place]]) -> list[str]:
    """Name the queues that limit how many run."""
    return [lane.queue for lane in lanes if lane.queue_limits is not None and lane.queue_limits.concurrency is not None]


def _columns(state: QueueState) -> tuple[bool, str | None, datetime | None]:
    return state.paused, None if state.limits is None else _text(state.limits), state.draining


def _text(limits: Limits) -> str:
    # As it is written once it has been read: 5 seconds are 5.0 then.
    return json.encode(STRICT["limits"](json.encode(limits).decode())).decode()
