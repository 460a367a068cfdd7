"""The turns of records with fairness keys: read from the records that wait, and given to those that are due."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from lq_core.queue import Swap
from lq_core.queue.columns import to_text
from lq_core.queue.fairness import Tenant, Turns, due_by_tenant, given_turns, tenant_of, with_turns
from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord
from lq_postgres.connection.driver import Fetch, Row
from lq_postgres.statements import fairness as sql


async def give_turns(
    fetch: Fetch, records: Sequence[QueuedTaskRecord], *, now: datetime
) -> tuple[Sequence[QueuedTaskRecord], datetime | None]:
    """
    Give turns to those of new records that are due, and return the moment at which these and no others count as due.

    The moment is None without fairness keys. Two transactions at once may give the same turns of one key twice.
    """
    if not any(record.metadata and FAIRNESS_KEY in record.metadata for record in records):
        return records, None
    tenants = due_by_tenant(records, at=now)
    if not tenants:
        return records, now
    records, last = with_turns(
        records, tenants, await _turns(fetch, {tenant: len(due) for tenant, due in tenants.items()})
    )
    return records, max(now, last)


async def give_turns_again(
    fetch: Fetch, swaps: Sequence[Swap], *, now: datetime
) -> tuple[Sequence[Swap], datetime | None]:
    """
    Give other turns to records that return to pending and are due, and return the moment as :func:`give_turns` does.

    Those that become due while the database works must not be found due before they have turns.
    """
    if not any(swap.record.metadata and FAIRNESS_KEY in swap.record.metadata for swap in swaps):
        return swaps, None
    tenants = defaultdict[Tenant, list[int]](list)
    changed = list(swaps)
    for number, swap in enumerate(swaps):
        tenant = tenant_of(swap.record)
        if tenant is not None and swap.record.scheduled_at <= now:
            tenants[tenant].append(number)
    if tenants:
        turns = await _turns(fetch, {tenant: 1 + len(numbers) for tenant, numbers in tenants.items()})
        due = {tenant: [swaps[number].record.scheduled_at for number in numbers] for tenant, numbers in tenants.items()}
        given = given_turns(due, turns, is_new=False)
        for tenant, numbers in tenants.items():
            for number, turn in zip(numbers, given[tenant], strict=True):
                record = replace(swaps[number].record, scheduled_at=turn)
                changed[number] = replace(swaps[number], record=record)
                now = max(now, turn)
    return changed, now


async def give_turns_to_due(fetch: Fetch, rows: Sequence[Sequence[Any]]) -> None:
    """Make the records ready that ``PROMOTE`` has found because they have fairness keys."""
    if not rows:
        return
    tenants = defaultdict[Tenant, list[Sequence[Any]]](list)
    for row in rows:
        tenants[Tenant(*row[1:5])].append(row)
    turns = await _turns(fetch, {tenant: 1 + len(due) for tenant, due in tenants.items()}, written=True)
    given = given_turns({tenant: [row[5] for row in due] for tenant, due in tenants.items()}, turns, is_new=False)
    found = [
        (row[0], row[5], turn) for tenant, due in tenants.items() for row, turn in zip(due, given[tenant], strict=True)
    ]
    found.sort()  # Every process writes in the order of the ids, so that none waits for another in a circle.
    _ = await fetch(sql.GIVE_TURNS, *map(list, zip(*found, strict=True)))


async def _turns(fetch: Fetch, sizes: Mapping[Tenant, int], *, written: bool = False) -> Mapping[Tenant, Turns]:
    """Read the turns that this many records of each tenant need; *written* says that its key is JSON already."""
    rows = [
        (
            number,
            tenant.execution_backend,
            tenant.queue,
            tenant.priority,
            tenant.key if written else to_text(tenant.key),
            size,
        )
        for number, (tenant, size) in enumerate(sizes.items())
    ]
    found = defaultdict[int, list[Row]](list)
    for row in await fetch(sql.TURNS, *map(list, zip(*rows, strict=True))):
        found[row[0]].append(row)
    return {
        tenant: Turns(found[number][0][1], (row[2] for row in found[number] if row[2] is not None))
        for number, tenant in enumerate(sizes)
    }
