"""Storing new records, who holds a key that was not free, and what is asked of the holder instead."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from lq_core.errors import StorageError
from lq_core.queue import Insertion, Swap
from lq_core.queue.nested import unreadable_holder
from lq_core.record import QueuedTaskRecord
from lq_postgres.driver import Row
from lq_postgres.rows import (
    alike,
    alike_at_once,
    alone,
    amended,
    are_alike,
    are_of_one_moment,
    mixed,
    records_from,
)
from lq_postgres.statements import storing
from lq_postgres.swaps import in_waves

TRIES: Final = 10
"""How often a key may be freed by its holder and taken by another between two statements."""


class Fetch(Protocol):
    """Runs one statement; the schema is filled in."""

    def __call__(self, sql: str, /, *parameters: object) -> Awaitable[Sequence[Row]]:
        """Run it, and read its rows."""
        ...


class Inserter:
    """
    Stores and amends records by *fetch*.

    *wake_up* tells the moment (None for the database's own), the channel and the sender of the notification.
    """

    def __init__(self, fetch: Fetch, wake_up: Callable[[], tuple[datetime | None, str, str]]) -> None:
        self._fetch = fetch
        self._wake_up = wake_up

    async def insert(self, records: Sequence[QueuedTaskRecord]) -> list[Insertion]:
        """Store records, and answer for each: itself, or the holder of its key."""
        created = await self._store(records)
        if created is None:
            return [Insertion(record, created=True) for record in records]
        holders: dict[str | None, QueuedTaskRecord] = {}
        for _ in range(TRIES):
            refused = [record for record in records if record.id not in created and record.key not in holders]
            if not refused:
                break
            keys = list({record.key for record in refused})
            rows = await self._fetch(storing.HOLDERS, keys, self._wake_up()[0])
            lapsed = [key for has_lapsed, key, *_ in rows if has_lapsed]
            if lapsed:
                _ = await self._fetch(storing.LET_GO, lapsed, self._wake_up()[0])
            holders |= {holder.key: holder for holder in records_from((row for row in rows if not row[0]), start=2)}
            for has_lapsed, key, *_ in rows:
                if not has_lapsed and key not in holders:
                    raise unreadable_holder(key)
            freed = [record for record in refused if record.key not in holders]
            if freed:  # The holder has ended in between, or its window has.
                created |= await self._store_mixed(freed)
        else:
            raise StorageError("Keys changed hands faster than they could be read. Enqueue again.")
        return [
            Insertion(record, created=True) if record.id in created else _held(holders[record.key], record)
            for record in records
        ]

    async def _store(self, records: Sequence[QueuedTaskRecord]) -> set[UUID] | None:
        """Store what can be stored and tell the ids; None for all."""
        is_alike = are_alike(records)
        if all(record.key is None for record in records):
            if is_alike and len(records) == 1:
                sql, parameters = storing.INSERT_ONE, alone(records[0])
            elif is_alike and are_of_one_moment(records):
                sql, parameters = storing.INSERT_ALIKE_AT_ONCE, alike_at_once(records)
            elif is_alike:
                sql, parameters = storing.INSERT_ALIKE, alike(records)
            else:
                sql, parameters = storing.INSERT_MIXED, mixed(records)
            _ = await self._fetch(sql, *parameters, *self._wake_up())
            return None
        if is_alike:
            [[ids, _]] = await self._fetch(storing.INSERT_ALIKE_KEYED, *alike(_in_order(records)), *self._wake_up())
            created = {UUID(int=id_.int) for id_ in ids or ()}
        else:
            created = await self._store_mixed(records)
        return None if len(created) == len(records) else created

    async def _store_mixed(self, records: Sequence[QueuedTaskRecord]) -> set[UUID]:
        [[ids, _]] = await self._fetch(storing.INSERT_MIXED_KEYED, *mixed(_in_order(records)), *self._wake_up())
        return {UUID(int=id_.int) for id_ in ids or ()}

    async def amend(self, swaps: Sequence[Swap]) -> list[bool]:
        """Amend records, and answer for each whether its epoch was still the expected one."""
        kept: list[bool] = []
        for wave in in_waves(swaps):
            [[ids, _]] = await self._fetch(storing.AMEND, *amended(wave), *self._wake_up())
            done = {UUID(int=id_.int) for id_ in ids or ()}
            kept += [swap.record.id in done for swap in wave]
        return kept


def _held(holder: QueuedTaskRecord, record: QueuedTaskRecord) -> Insertion:
    """Answer with the holder of a key: the record itself, where a batch has stored it before it failed for another."""
    return Insertion(holder, created=holder.id == record.id)


def _in_order(records: Sequence[QueuedTaskRecord]) -> Sequence[QueuedTaskRecord]:
    """Put records in the order of their keys: two processes that store the same ones do not wait for each other."""
    return sorted(records, key=lambda record: record.key or "")
