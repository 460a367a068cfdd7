"""Storing new records, finding the holders of their keys, and amending the holders."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, TypeAlias
from uuid import UUID

from lq_core.foundation.errors import StorageError
from lq_core.queue import Insertion, Swap
from lq_core.queue.json_values import unreadable_holder
from lq_core.queue.predecessors import after_holders, waves
from lq_core.records.record import QueuedTaskRecord
from lq_postgres.connection.driver import Fetch
from lq_postgres.connection.notifier import Channel
from lq_postgres.statements import storing
from lq_postgres.storage.fairness import give_turns
from lq_postgres.storage.rows import alike, alike_at_once, alone, are_alike, are_of_one_moment, mixed, records_from
from lq_postgres.storage.swaps import amended, in_waves

TRIES: Final = 10
"""How often a key may change hands between two statements."""

WakeUp: TypeAlias = tuple[datetime | None, Channel | None, str]
"""The moment (None for that of the database), the channel (None for no notification) and its sender."""


async def insert(
    fetch: Fetch, records: Sequence[QueuedTaskRecord], wake_up: WakeUp, *, now: datetime
) -> list[Insertion]:
    """
    Store records, and answer for each with itself or with the holder of its key.

    If some come after others that have keys, *fetch* must run its statements in one transaction.
    """
    stored: dict[UUID, Insertion] = {}
    for wave in waves(records):
        if wave is records:
            return await _insert(fetch, records, wake_up, now)
        insertions = await _insert(fetch, [after_holders(record, stored) for record in wave], wake_up, now)
        stored |= zip((record.id for record in wave), insertions, strict=True)
    return [stored[record.id] for record in records]


async def _insert(fetch: Fetch, records: Sequence[QueuedTaskRecord], wake_up: WakeUp, now: datetime) -> list[Insertion]:
    records, moment = await give_turns(fetch, records, now=now)
    when_due = (moment or wake_up[0], *wake_up[1:])
    if all(record.key is None for record in records):
        await _insert_without_keys(fetch, records, when_due)
        created = None
    else:
        created = await _insert_keyed(fetch, records, when_due)
    if created is None or len(created) == len(records):
        return [Insertion(record, created=True) for record in records]
    holders: dict[str | None, QueuedTaskRecord] = {}
    for _ in range(TRIES):
        refused = [record for record in records if record.id not in created and record.key not in holders]
        if not refused:
            break
        rows = await fetch(storing.HOLDERS, list({record.key for record in refused}), wake_up[0])
        lapsed = [key for has_lapsed, key, *_ in rows if has_lapsed]
        if lapsed:
            _ = await fetch(storing.RELEASE_KEY, lapsed, wake_up[0])
        holders |= {holder.key: holder for holder in records_from((row for row in rows if not row[0]), start=2)}
        for has_lapsed, key, *_ in rows:
            if not has_lapsed and key not in holders:
                raise unreadable_holder(key)
        available = [record for record in refused if record.key not in holders]
        if available:  # The holder has ended since, or has lapsed.
            created |= await _insert_keyed(fetch, available, when_due)
    else:
        raise StorageError("Other calls took and released the keys too quickly. Enqueue again.")
    return [
        # If an earlier try stored the record, it holds its own key.
        Insertion(record, created=True)
        if record.id in created
        else Insertion(holders[record.key], created=holders[record.key].id == record.id)
        for record in records
    ]


async def amend(fetch: Fetch, swaps: Sequence[Swap], wake_up: WakeUp) -> list[bool]:
    """Amend records, and answer for each whether its epoch was the expected one."""
    kept: list[bool] = []
    for wave in in_waves(swaps):
        [[ids, _]] = await fetch(storing.AMEND, *amended(wave), *wake_up)
        done = {UUID(int=id_.int) for id_ in ids or ()}
        kept += [swap.record.id in done for swap in wave]
    return kept


async def _insert_without_keys(fetch: Fetch, records: Sequence[QueuedTaskRecord], wake_up: WakeUp) -> None:
    if not are_alike(records):
        sql, parameters = storing.INSERT_MIXED, mixed(records)
    elif len(records) == 1:
        sql, parameters = storing.INSERT_ONE, alone(records[0])
    elif are_of_one_moment(records):
        sql, parameters = storing.INSERT_ALIKE_AT_ONCE, alike_at_once(records)
    else:
        sql, parameters = storing.INSERT_ALIKE, alike(records)
    _ = await fetch(sql, *parameters, *wake_up)


async def _insert_keyed(fetch: Fetch, records: Sequence[QueuedTaskRecord], wake_up: WakeUp) -> set[UUID]:
    """Store the records whose keys are available, and return their ids."""
    # In the order of the keys, two processes that store the same keys cannot block each other.
    records = sorted(records, key=lambda record: record.key or "")
    if are_alike(records):
        sql, parameters = storing.INSERT_ALIKE_KEYED, alike(records)
    else:
        sql, parameters = storing.INSERT_MIXED_KEYED, mixed(records)
    [[ids, _]] = await fetch(sql, *parameters, *wake_up)
    return {UUID(int=id_.int) for id_ in ids or ()}
