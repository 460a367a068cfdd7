"""The states of schedules in rows, and the records that a change of one still has to store."""

from collections.abc import Sequence

from lq_core.queue.columns import to_text
from lq_core.queue.json_values import schedules_from
from lq_core.records.record import QueuedTaskRecord
from lq_core.schedules.schedule_state import ScheduleState
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import reading, upkeep


async def read_schedules(fetch: Fetch) -> Sequence[ScheduleState]:
    """Read the states of all schedules."""
    return schedules_from(body for (body,) in await fetch(upkeep.SCHEDULES))


async def read_schedule(fetch: Fetch, name: str) -> ScheduleState | None:
    """Read the state of one schedule; None if no worker has declared it."""
    return next(iter(schedules_from(body for (body,) in await fetch(upkeep.SCHEDULE, name))), None)


async def change_schedule(
    fetch: Fetch, state: ScheduleState, records: Sequence[QueuedTaskRecord]
) -> Sequence[QueuedTaskRecord] | None:
    """
    Store a new state, and return those of its records that are not stored yet; None if another process was first.

    *fetch* runs its statements in one transaction. It locks the row, so that no other process creates these records.
    """
    statement = upkeep.ADD_SCHEDULE if state.version == 1 else upkeep.CHANGE_SCHEDULE
    if not await fetch(statement, state.name, state.version, to_text(state)):
        return None
    stored = {row[0].int for row in await fetch(reading.GET, [record.id for record in records])}
    return [record for record in records if record.id.int not in stored]
