"""The states of schedules: all are read, and one is saved together with the records that became due."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from lq_core.queue.schedule_text import from_texts, to_text
from lq_core.record import QueuedTaskRecord
from lq_core.schedule_state import ScheduleState
from lq_postgres.connections import Connections
from lq_postgres.insertion import Inserter
from lq_postgres.statements import schedules as sql


async def read_schedules(connections: Connections) -> list[ScheduleState]:
    """Read the state of every schedule."""
    return list(from_texts(body for (body,) in await connections.fetch(sql.SCHEDULES)))


async def save_schedule(
    connections: Connections,
    wake_up: Callable[[], tuple[datetime | None, str, str]],
    state: ScheduleState,
    records: Sequence[QueuedTaskRecord],
) -> bool:
    """Save a state and its records in one transaction; False when the version before is not the current one."""
    statement = sql.ADD if state.version == 1 else sql.CHANGE
    async with connections.transaction() as fetch:
        # From here on the row is locked: nobody else makes records for this schedule.
        if not await fetch(statement, state.name, state.version, to_text(state)):
            return False
        if records:
            there = {UUID(int=id_.int) for (id_,) in await fetch(sql.STORED, [record.id for record in records])}
            if new := [record for record in records if record.id not in there]:
                _ = await Inserter(fetch, wake_up).insert(new)
    return True
