"""Storing new records: the statement that suits the batch, and who holds a key that was not free."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from lq_core.errors import StorageError
from lq_core.queue import Insertion
from lq_core.record import QueuedTaskRecord
from lq_postgres.driver import Row
from lq_postgres.rows import alike, are_alike, mixed, records_from
from lq_postgres.statements import storing

TRIES: Final = 10
"""How often a key may be freed by its holder and taken by another between two statements."""


class Fetch(Protocol):
    """Runs one statement; the schema is filled in."""

    def __call__(self, sql: str, /, *parameters: object) -> Awaitable[Sequence[Row]]:
        """Run it, and read its rows."""
        ...


class Inserter:
    """
    Stores records by *fetch*.

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
            rows = await self._fetch(storing.HOLDERS, list({record.key for record in refused}))
            holders |= {holder.key: holder for holder in records_from(rows)}
            freed = [record for record in refused if record.key not in holders]
            if freed:  # The holder has ended in between.
                created |= await self._store_mixed(freed)
        else:
            raise StorageError("Keys changed hands faster than they could be read. Enqueue again.")
        return [
            Insertion(record, created=True) if record.id in created else Insertion(holders[record.key], created=False)
            for record in records
        ]

    async def _store(self, records: Sequence[QueuedTaskRecord]) -> set[UUID] | None:
        """Store what can be stored and tell the ids; None for all."""
        is_alike = are_alike(records)
        if all(record.key is None for record in records):
            sql, parameters = (storing.INSERT_ALIKE, alike) if is_alike else (storing.INSERT_MIXED, mixed)
            _ = await self._fetch(sql, *parameters(records), *self._wake_up())
            return None
        if is_alike:
            [[ids, _]] = await self._fetch(storing.INSERT_ALIKE_KEYED, *alike(records), *self._wake_up())
            created = {UUID(int=id_.int) for id_ in ids or ()}
        else:
            created = await self._store_mixed(records)
        return None if len(created) == len(records) else created

    async def _store_mixed(self, records: Sequence[QueuedTaskRecord]) -> set[UUID]:
        [[ids, _]] = await self._fetch(storing.INSERT_MIXED_KEYED, *mixed(records), *self._wake_up())
        return {UUID(int=id_.int) for id_ in ids or ()}
