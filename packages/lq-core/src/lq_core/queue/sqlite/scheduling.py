"""What is done to the states of schedules: all are read, and one is saved together with the records that became due."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from lq_core.queue.schedule_text import from_texts, to_text
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite import writing
from lq_core.record import QueuedTaskRecord
from lq_core.schedule_state import ScheduleState


def schedules(connection: sqlite3.Connection) -> list[ScheduleState]:
    """Read the state of every schedule."""
    return list(from_texts(body for (body,) in connection.execute(sql.SCHEDULES)))


def save(
    connection: sqlite3.Connection, state: ScheduleState, records: Sequence[QueuedTaskRecord], *, at: datetime
) -> bool:
    """Save a state and its records, inside of a transaction; False when the version before is not the current one."""
    statement = sql.ADD_SCHEDULE if state.version == 1 else sql.CHANGE_SCHEDULE
    values = {"name": state.name, "version": state.version, "body": to_text(state)}
    if connection.execute(statement, values).rowcount != 1:
        return False
    new = [record for record in records if connection.execute(sql.GET, (record.id.bytes,)).fetchone() is None]
    if new:
        _ = writing.insert(connection, new, at=at)
    return True
