"""
Claims under limits, and the states of queues.

A lock of the transaction lets one such claim run at a time, also behind PgBouncer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Final, TypeAlias
from uuid import UUID

from msgspec import json
from msgspec.structs import replace

from lq_core.foundation.errors import StorageError
from lq_core.queue import Claim, Claimed, QueueState, Swap
from lq_core.queue.json_values import STRICT, read_limits
from lq_core.queue.limits import Allowances, Partition, pick
from lq_core.records.record import TaskStatus
from lq_postgres.claims.first_records import Entry, First, allowances_of, entry_of, partitions_of, suffice
from lq_postgres.claims.keyed import FARTHER, SETTLED, KeyedClaims, Settled
from lq_postgres.connection.clock import DatabaseClock
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import limiting, upkeep
from lq_postgres.storage.insertion import WakeUp
from lq_postgres.storage.rows import order_of_claim, records_from
from lq_postgres.storage.swaps import written

FEW: Final = 200
"""For this many keys it is faster to read the first record of each than to read the records in order."""

COUNT_INTERVAL: Final = 1.0
"""The shortest time in seconds between two counts of many keys."""

ROUNDS: Final = 100
"""How often lq tries to count a record that a transaction holds, with pauses of 50 ms."""

Read: TypeAlias = Callable[[str, int], Awaitable[Sequence[First]]]
"""Reads the first records of each partition by a statement, with a limit to the keys or the records in order."""


class LimitedClaims:
    """Claims records under limits, and keeps the states of queues."""

    def __init__(self, connections: Connections, clock: DatabaseClock) -> None:
        self._connections = connections
        self._clock = clock
        self._unreadable: Mapping[str, str] = {}
        """The stored limits of queues that cannot be read."""

        self._has_few_keys = False
        self._count_keys_at = 0.0
        self._keyed = KeyedClaims()

    async def claim_after(self, swaps: Sequence[Swap], claim: Claim) -> Claimed:
        """Claim records that may start; if *swaps* have been settled, an error makes the claim uncertain instead."""
        try:
            return await self._claim(claim)
        except StorageError:
            if not swaps:
                raise
            return Claimed(uncertain=True)

    async def settle_and_claim(
        self, swaps: Sequence[Swap], claim: Claim, wake_up: WakeUp
    ) -> tuple[Settled, Claimed | None]:
        """Settle, and claim in the same transaction; answer None instead of a claim if that needs another one."""
        if self._may_be_keyed(claim):
            return await self._keyed.settle_and_claim(self._connections.fetch, swaps, claim, wake_up)
        async with self._connections.transaction(first=limiting.TRY_LOCK) as fetch:
            return await self._settle_and_choose(fetch, swaps, claim, wake_up)

    async def _claim(self, claim: Claim) -> Claimed:
        async with self._connections.transaction(first=limiting.LOCK) as fetch:
            if self._may_be_keyed(claim):
                _, claimed = await self._keyed.settle_and_claim(fetch, (), claim, (self._clock.at(), None, ""))
                if claimed is not None:
                    return claimed
            return await self._choose(fetch, claim, partial(self._read, fetch, claim))

    def _may_be_keyed(self, claim: Claim) -> bool:
        return not self._has_few_keys and self._keyed.may(claim)

    async def _settle_and_choose(
        self, fetch: Fetch, swaps: Sequence[Swap], claim: Claim, wake_up: WakeUp
    ) -> tuple[Settled, Claimed | None]:
        answers = list[Settled]()
        given, statements = written(swaps, settle=limiting.SETTLING, complete=limiting.COMPLETING)

        async def read(sql: str, limit: int) -> Sequence[First]:
            if answers:
                return await self._read(fetch, claim, sql, limit)
            rows = await fetch(
                statements[sql],
                *(*wake_up, claim.worker_id, claim.execution_backends, claim.queues, limit),
                *(None, None, None, *given),
            )
            answers.append(Settled(*rows[0][:SETTLED]))
            return [First(*row[SETTLED:]) for row in rows if row[SETTLED] is not None]

        claimed = await self._choose(fetch, claim, read)
        return answers[0], claimed if answers[0].may_claim else None

    async def _read(self, fetch: Fetch, claim: Claim, sql: str, limit: int) -> Sequence[First]:
        rows = await fetch(sql, self._clock.at(), claim.execution_backends, claim.queues, limit)
        return [First(*row) for row in rows]

    async def _choose(self, fetch: Fetch, claim: Claim, read: Read) -> Claimed:
        """Choose among the first records of each partition, in a transaction that has the lock."""
        firsts, partitions, allowances = await self._firsts(fetch, claim, read)
        if not firsts:
            return Claimed()
        rooms = [allowances.room(partition, claim.limit) for partition in partitions]
        for number, entries in (await self._entries(fetch, firsts, rooms)).items():
            partitions[number] = firsts[number].partition(entries)
        picked, held_back = pick(partitions, claim.limit, allowances)
        limited = [one.queue for one in partitions if one.queue_limits and one.queue_limits.concurrency]
        rows = await fetch(
            limiting.CLAIM_CHOSEN,
            *(firsts[0].at, claim.worker_id, [entry[-1] for entry in picked], claim.to.value),
            *(int(claim.to is TaskStatus.RUNNING), limited),
        )
        alive: bool = rows[0][0]
        records = sorted(records_from((row for row in rows if row[1] is not None), 1), key=order_of_claim)
        if len(records) < len(picked):
            # A transaction holds the other chosen records, so they spend nothing.
            allowances = allowances_of(firsts)
            by_place = {(first.execution_backend, first.queue, first.key): first.partition() for first in firsts}
            for record in records:
                place = record.execution_backend, record.queue, record.concurrency_key
                if place in by_place:  # Nothing limits the others.
                    _ = allowances.admit(by_place[place])
        if alive and allowances.changed:
            buckets = [(*subject, full_at) for subject, full_at in allowances.changed.items()]
            _ = await fetch(limiting.KEEP_BUCKETS, *map(list, zip(*buckets, strict=True)))
            _ = await fetch(limiting.DROP_FULL_BUCKETS, firsts[0].at)
        return Claimed(records=tuple(records), alive=alive, held_back=held_back)

    async def openings(self, claim: Claim) -> Sequence[datetime]:
        """Return when the first due record of each partition may start, unless another one must end before."""
        fetch, claim = self._connections.fetch, replace(claim, limit=1)
        _, partitions, allowances = await self._firsts(fetch, claim, partial(self._read, fetch, claim))
        moments = map(allowances.opens_at, partitions)
        return [moment for moment in moments if moment is not None]

    async def queues(self) -> Mapping[str, QueueState]:
        """Read the states of queues that differ from the default."""
        rows = await self._connections.fetch(upkeep.QUEUES)
        self._unreadable = {name: limits for name, _, limits, _ in rows if limits and read_limits(limits) is None}
        return {
            name: QueueState(paused=paused, limits=read_limits(limits), draining=draining)
            for name, paused, limits, draining in rows
        }

    async def swap_queue(self, queue: str, old: QueueState, new: QueueState, *wake_up: str | None) -> bool:
        """Replace the state *old* of a queue by *new*, and count the running records before this returns."""
        paused, limits, draining = _columns(old)
        limits = limits or self._unreadable.get(queue)
        rows = await self._connections.fetch(
            upkeep.SWAP_QUEUE, queue, *_columns(new), paused, limits, draining, old == QueueState(), *wake_up
        )
        if rows and new.limits is not None and new.limits.concurrency is not None:
            async with self._connections.transaction(first=limiting.LOCK) as fetch:
                _ = await fetch(limiting.AWAIT_CLAIMS)
            for _ in range(ROUNDS):
                if not await self._connections.read_whole(limiting.COUNT_IN, queue):
                    break
                await asyncio.sleep(0.05)
        return bool(rows)

    async def count_in(self, started: Sequence[UUID]) -> None:
        """Count records that were started without a claim, if their queues have limits."""
        if started:
            _ = await self._connections.fetch(limiting.COUNT_IN_THESE, started)

    async def _firsts(
        self, fetch: Fetch, claim: Claim, read: Read
    ) -> tuple[Sequence[First], list[Partition[Entry]], Allowances]:
        """Read the first records of the partitions from which the claim has to choose."""
        most = FEW + len(claim.execution_backends)
        if self._has_few_keys:
            firsts = await read(limiting.FIRSTS_BY_KEY, most)
            if any(first.key is not None and first.number < most for first in firsts):
                return firsts, partitions_of(firsts), allowances_of(firsts)
            self._has_few_keys = False
            if not firsts:
                return firsts, partitions_of(firsts), allowances_of(firsts)
        further = self._keyed.a_bit_less_far()
        while True:
            size = claim.limit + further
            firsts = await read(limiting.FIRSTS_IN_ORDER, size)
            partitions, allowances = partitions_of(firsts), allowances_of(firsts)
            if suffice(firsts, partitions, allowances, size=size, limit=claim.limit):
                self._keyed.further = further
                return firsts, partitions, allowances
            if monotonic() > self._count_keys_at:
                [[keys]] = await fetch(limiting.COUNT_KEYS, claim.execution_backends, claim.queues, most)
                if keys < most:
                    self._has_few_keys = True
                    firsts = await read(limiting.FIRSTS_BY_KEY, most)
                    return firsts, partitions_of(firsts), allowances_of(firsts)
                self._count_keys_at = monotonic() + COUNT_INTERVAL
            further = FARTHER * size

    async def _entries(self, fetch: Fetch, firsts: Sequence[First], rooms: Sequence[int]) -> Mapping[int, list[Entry]]:
        """Read as many records as each partition has room for, where that is more than the first one."""
        partitions = [
            (number, first.execution_backend, first.queue, first.key, first.draining, room)
            for number, (first, room) in enumerate(zip(firsts, rooms, strict=True))
            if room > 1
        ]
        entries: dict[int, list[Entry]] = {}
        if partitions:
            rows = await fetch(limiting.ENTRIES, self._clock.at(), *map(list, zip(*partitions, strict=True)))
            for number, priority, scheduled_at, id_ in rows:
                entries.setdefault(number, []).append(entry_of(priority, scheduled_at, id_))
        return entries


def _columns(state: QueueState) -> tuple[bool, str | None, datetime | None]:
    if state.limits is None:
        return state.paused, None, state.draining
    # Decode once, so that the text is the same as after a read: 5 seconds become 5.0.
    limits = STRICT["limits"](json.encode(state.limits).decode())
    return state.paused, json.encode(limits).decode(), state.draining
