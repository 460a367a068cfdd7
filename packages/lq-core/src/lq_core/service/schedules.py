"""Changes of schedule states, by compare-and-swap, and the records of due times."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from lq_core.foundation.errors import StorageError, UnknownScheduleError
from lq_core.queue import BaseQueueBackend
from lq_core.records.identity import id_of
from lq_core.records.record import HistoryEntry, QueuedTaskRecord
from lq_core.schedules.schedule import Schedule
from lq_core.schedules.schedule_state import ScheduleState

TRIES: Final = 20
"""How often a change of a state is tried while others change the same state."""

DUE: Final = "lq.due"
"""The key in the metadata of a record that has its due time, as ISO 8601."""


async def existing(queue: BaseQueueBackend, name: str) -> ScheduleState:
    """Read the state of a schedule. Raises UnknownScheduleError."""
    state = await queue.schedule(name)
    if state is None:
        raise UnknownScheduleError(name, [state.name for state in await queue.schedules()])
    return state


async def change(
    queue: BaseQueueBackend,
    name: str,
    step: Callable[[ScheduleState | None], ScheduleState | None],
    *,
    known: ScheduleState | None,
) -> bool:
    """
    Change the state *known* by a *step*, which returns None for no change; if others change it, read it and try again.

    Returns False if the state is damaged or always changes.
    """
    for _ in range(TRIES):
        after = step(known)
        if after is None or await queue.save_schedule(after):
            return True
        known = await queue.schedule(name)
    return False


async def change_existing(
    queue: BaseQueueBackend, name: str, step: Callable[[ScheduleState], ScheduleState | None]
) -> None:
    """Change the state of a schedule. Raises UnknownScheduleError, and StorageError if others always change it."""
    known = await existing(queue, name)
    if not await change(queue, name, lambda state: state and step(state), known=known):
        raise StorageError(f"The schedule {name!r} was changed by others again and again. Try again.")


def due_record(record: QueuedTaskRecord, schedule: Schedule, due: datetime, *, is_late: bool) -> QueuedTaskRecord:
    """Make a new record of the call of a schedule into the record of one due time."""
    late = HistoryEntry(at=record.created_at, event="caught_up", message=f"It was due at {due.isoformat()}.")
    return replace(
        record,
        # A due time has one id, and so one record, even if the state is lost or the clock is set back.
        id=id_of(schedule.name, due),
        schedule=schedule.name,
        scheduled_at=due,
        metadata={**record.metadata, DUE: due.isoformat()},
        history=(late,) if is_late else (),
    )
