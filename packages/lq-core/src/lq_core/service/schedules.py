"""The verbs of schedules: each reads a state, takes a pure step from it, and saves it if nobody else has meanwhile."""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from msgspec.structs import replace

from lq_core import schedule_state
from lq_core.config import QueueConfig
from lq_core.errors import StorageError, UnknownScheduleError
from lq_core.event_log import event_log
from lq_core.identity import id_of, new_id
from lq_core.queue import BaseQueueBackend
from lq_core.record import HistoryEntry, QueuedTaskRecord
from lq_core.schedule import Schedule, find_schedule
from lq_core.schedule_state import Firing, ScheduleState
from lq_core.service.calls import new_record
from lq_core.service.executions import Executions

log = event_log()

TRIES: Final = 20
"""How often a state may be changed by others while it is being changed here."""

DUE: Final = "lq.due"
"""Under this name, a record's metadata tell its due time, as ISO 8601."""

Step = Callable[[ScheduleState], ScheduleState | None]


class Schedules:
    """What can be done with the schedules of one queue backend."""

    def __init__(self, queue: BaseQueueBackend, config: QueueConfig, executions: Executions) -> None:
        self._queue = queue
        self._config = config
        self._executions = executions

    async def read(self) -> Sequence[ScheduleState]:
        """Read the states, in the order of their names."""
        return sorted(await self._queue.schedules(), key=lambda state: state.name)

    async def declare(self, schedule: Schedule) -> bool:
        """Enter what a starting worker declares; False when its state cannot be changed."""
        return await self._change(
            schedule.name, lambda known: schedule_state.declare(known, schedule, at=self._queue.now())
        )

    async def pause(self, name: str) -> None:
        """Let it fire no more. Raises UnknownScheduleError."""
        await self._change_known(name, schedule_state.pause)

    async def resume(self, name: str) -> None:
        """Let it fire again, from now on. Raises UnknownScheduleError."""
        await self._change_known(name, lambda known: schedule_state.resume(known, at=self._queue.now()))

    async def next_times(self, name: str, count: int) -> Sequence[datetime]:
        """Tell the next due times. Raises UnknownScheduleError."""
        states = {state.name: state for state in await self._queue.schedules()}
        if name not in states:
            raise UnknownScheduleError(name, states)
        return list(islice(states[name].plan.after(self._queue.now()), count))

    async def run(self, name: str) -> QueuedTaskRecord:
        """Enqueue the call now. Raises UnknownScheduleError when it is not declared in this process."""
        schedule = find_schedule(name)
        record = new_record(schedule.call, self._config, self._executions, at=self._queue.now())
        (insertion,) = await self._queue.insert([replace(record, id=new_id(), schedule=name)])
        return insertion.record

    def records_of(self, firing: Firing, schedule: Schedule, *, at: datetime) -> Sequence[QueuedTaskRecord]:
        """Make the records of due times. Raises PayloadTooLargeError, UnknownBackendError."""
        return [self._record(schedule, due, is_late=due in firing.caught_up, at=at) for due in firing.times]

    def _record(self, schedule: Schedule, due: datetime, *, is_late: bool, at: datetime) -> QueuedTaskRecord:
        record = new_record(schedule.call, self._config, self._executions, at=at)
        told = HistoryEntry(at=at, event="caught_up", message=f"It was due at {due.isoformat()}.")
        return replace(
            record,
            # A due time has one id, so that it has one record, whatever happens to the state or to the clock.
            id=id_of(schedule.name, due),
            schedule=schedule.name,
            scheduled_at=due,
            metadata={**record.metadata, DUE: due.isoformat()},
            history=(told,) if is_late else (),
        )

    async def _change_known(self, name: str, step: Step) -> None:
        known = {state.name for state in await self._queue.schedules()}
        if name not in known:
            raise UnknownScheduleError(name, known)
        if not await self._change(name, lambda state: state and step(state)):
            raise StorageError(f"The schedule {name!r} is changed by others all the time. Try again.")

    async def _change(self, name: str, step: Callable[[ScheduleState | None], ScheduleState | None]) -> bool:
        for _ in range(TRIES):
            states = {state.name: state for state in await self._queue.schedules()}
            after = step(states.get(name))
            if after is None or await self._queue.save_schedule(after):
                return True
        # Others change it all the time, or it is damaged and cannot be read.
        return False
