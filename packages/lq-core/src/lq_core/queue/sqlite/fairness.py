"""The turns of records with fairness keys: read from the records that wait, and written to those that become due."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from lq_core.queue.fairness import Tenant, Turns, due_by_tenant, given_turns, with_turns
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.rows import to_microseconds, to_moment
from lq_core.records.record import QueuedTaskRecord


def give_turns(
    connection: sqlite3.Connection, records: Sequence[QueuedTaskRecord], *, at: datetime
) -> tuple[Sequence[QueuedTaskRecord], datetime]:
    """Give turns to those of new records that are due, and return the moment at which all of these count as due."""
    tenants = due_by_tenant(records, at=at)
    if not tenants:
        return records, at
    records, last = with_turns(records, tenants, {tenant: _turns(connection, tenant) for tenant in tenants})
    return records, max(at, last)


def promote(connection: sqlite3.Connection, partition: Mapping[str, str], *, at: int) -> None:
    """Make the records of a partition with fairness keys ready that have become due."""
    tenants = defaultdict[Tenant, list[tuple[int, datetime]]](list)
    for rowid, priority, key, scheduled_at in connection.execute(sql.DUE_WITH_FAIRNESS_KEY, {**partition, "at": at}):
        tenant = Tenant(partition["execution_backend"], partition["queue"], priority, key)
        tenants[tenant].append((rowid, to_moment(scheduled_at)))
    turns = {tenant: _turns(connection, tenant) for tenant in tenants}
    given = given_turns({tenant: [moment for _, moment in due] for tenant, due in tenants.items()}, turns, is_new=False)
    for tenant, due in tenants.items():
        rows = [(to_microseconds(turn), rowid) for (rowid, _), turn in zip(due, given[tenant], strict=True)]
        connection.executemany(sql.GIVE_TURN, rows)


def _turns(connection: sqlite3.Connection, tenant: Tenant) -> Turns:
    last = connection.execute(sql.LAST_TURN, tenant._asdict()).fetchone()
    return Turns(to_moment(last[0]) if last else None, _ahead(connection, tenant, last[0] if last else None))


def _ahead(connection: sqlite3.Connection, tenant: Tenant, turn: int | None) -> Iterator[datetime]:
    values = {**tenant._asdict(), "turn": -(2**63) if turn is None else turn}
    while found := connection.execute(sql.NEXT_TURN, values).fetchone():
        values["turn"] = found[0]
        yield to_moment(found[0])
