"""
The turns of records with fairness keys, for every queue backend.

A turn is a moment, and it takes the place of ``scheduled_at`` once a record is due, so the order of claims stays the
same. The waiting records of one execution backend, queue and priority share their turns: the first record of a key has
the first turn, its second one the next, and so on. A key alone has the due times of its records as turns.
A backend reads the turns of the records that wait and stores nothing else, so a turn ends with its last record.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from lq_core.records.record import FAIRNESS_KEY, QueuedTaskRecord, TaskStatus

STEP: Final = timedelta(microseconds=1)
"""Between two records of a key that become due at the same moment."""


class Tenant(NamedTuple):
    """A fairness key among the records of one execution backend, queue and priority, which share their turns."""

    execution_backend: str
    queue: str
    priority: int
    key: str


class Turns(NamedTuple):
    """The turns that decide when the next record of a tenant starts."""

    last: datetime | None
    """The last turn of the key; None when none of its records waits."""

    ahead: Iterator[datetime]
    """The turns of all keys after the last one of this key, in order and each once; without a last one, all turns."""


def tenant_of(record: QueuedTaskRecord) -> Tenant | None:
    """Return the tenant of a pending record; None without a fairness key, and if it cannot be claimed."""
    key = record.metadata.get(FAIRNESS_KEY) if record.metadata else None
    if key is None or record.status is not TaskStatus.PENDING or record.blocked or record.cancel_requested:
        return None
    return Tenant(record.execution_backend, record.queue, record.priority, key)


def due_by_tenant(records: Iterable[QueuedTaskRecord], *, at: datetime) -> Mapping[Tenant, Sequence[QueuedTaskRecord]]:
    """Find those of new records that get a turn when they are stored, by their tenants."""
    tenants = defaultdict[Tenant, list[QueuedTaskRecord]](list)
    for record in [record for record in records if record.metadata and FAIRNESS_KEY in record.metadata]:
        tenant = tenant_of(record)
        if tenant is not None and record.scheduled_at <= max(at, record.created_at):
            tenants[tenant].append(record)
    return tenants


def given_turns(
    tenants: Mapping[Tenant, Sequence[datetime]], turns: Mapping[Tenant, Turns], *, is_new: bool
) -> Mapping[Tenant, Sequence[datetime]]:
    """
    Give turns to records that are due together, by the due times of each tenant.

    Records that were stored before let the first turn pass, so one that returns again and again delays nobody.
    """
    beside = defaultdict[tuple[str, str, int], list[datetime]](list)
    return {
        tenant: list(next_turns(turns[tenant], due, beside=beside[tenant[:3]], is_new=is_new))
        for tenant, due in tenants.items()
    }


def next_turns(turns: Turns, due: Iterable[datetime], *, beside: list[datetime], is_new: bool) -> Iterator[datetime]:
    """Give turns to records of one tenant; *beside* has the turns of new records that are not stored yet, in order."""
    last, ahead = turns
    stored = next(ahead, None)
    if last is None and not is_new:
        last = min((one for one in (stored, *beside[:1]) if one is not None), default=None)
    for moment in due:
        while stored is not None and last is not None and stored <= last:
            stored = next(ahead, None)
        place = 0 if last is None else bisect_right(beside, last)
        turn = min((one for one in (stored, *beside[place : place + 1]) if one is not None), default=None)
        if turn is None:
            turn = moment if last is None else max(last + STEP, moment)
            insort(beside, turn)
        last = turn
        yield turn


def with_turns(
    records: Sequence[QueuedTaskRecord],
    tenants: Mapping[Tenant, Sequence[QueuedTaskRecord]],
    turns: Mapping[Tenant, Turns],
) -> tuple[Sequence[QueuedTaskRecord], datetime]:
    """Give turns to those of new records that *tenants* have; the other answer is the last of these turns."""
    given = given_turns(
        {tenant: [record.scheduled_at for record in due] for tenant, due in tenants.items()}, turns, is_new=True
    )
    moments = {
        record.id: turn for tenant, due in tenants.items() for record, turn in zip(due, given[tenant], strict=True)
    }
    changed = [
        replace(record, scheduled_at=moments[record.id]) if record.id in moments else record for record in records
    ]
    return changed, max(moments.values())
