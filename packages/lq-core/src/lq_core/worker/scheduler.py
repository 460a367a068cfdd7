"""
Makes a record for each due time of the schedules that this process declares.

There is no leader: every worker does it, and of all that try to handle a due time one succeeds.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from lq_core import schedule_state
from lq_core.errors import QueueError, StorageError
from lq_core.event_log import event_log
from lq_core.schedule import Schedule, known_schedules
from lq_core.schedule_state import SEEN_INTERVAL, ScheduleState
from lq_core.service import QueueService
from lq_core.service.schedules import Schedules

log = event_log()

SHORTEST_PAUSE: Final = 0.001
"""Seconds between two looks that find nothing due."""


class Scheduler:
    """Declares, fires and retires; *declared* reads the schedules of this process, by name."""

    def __init__(
        self, service: QueueService, *, declared: Callable[[], Mapping[str, Schedule]] = known_schedules
    ) -> None:
        self._queue = service.queue_backend
        self._config = service.config
        self._schedules = Schedules(service.queue_backend, service.config, service.executions)
        self._read_declared = declared
        self._entered: set[str] = set()
        """What this process has declared so far."""

        self._next: dict[str, tuple[int, datetime | None]] = {}
        """The next due time of each schedule, and for which version of its state that was worked out."""

        self._upkeep_at: datetime | None = None

    async def step(self) -> float:
        """Handle the due times that have come, and tell for how many seconds there is nothing to do."""
        declared = self._read_declared()
        for name in declared.keys() - self._entered:
            await self._enter(declared[name])
        is_upkeep_due = self._is_upkeep_due()
        if not declared and not is_upkeep_due:
            return self._config.poll_interval
        states = await self._queue.schedules()
        ours = [(state, declared[state.name]) for state in states if state.name in declared]
        has_changed, refused = list[bool](), list[StorageError]()
        for state, schedule in ours:
            try:
                has_changed.append(await self._fire(state, schedule))
            except StorageError as error:  # Such as for a key that a transaction of the application holds.
                refused.append(error)
        if is_upkeep_due:
            await self._keep_up(states, declared)
        if refused:
            raise refused[0]
        if any(has_changed):
            return 0
        soonest = min((due for state, _ in ours if (due := self._next_due(state)) is not None), default=None)
        if soonest is None:
            return self._config.poll_interval
        # Never longer than a poll: what others change, a pause or another plan, is seen by then.
        wait = (soonest - self._queue.now()).total_seconds()
        return min(max(wait, SHORTEST_PAUSE), self._config.poll_interval)

    async def _enter(self, schedule: Schedule) -> None:
        if not await self._schedules.declare(schedule):
            # Looked at again with the next upkeep, and not before: the other schedules are not to wait for it.
            log.error("schedule.not_declared", extra={"schedule": schedule.name})
        self._entered.add(schedule.name)

    async def _fire(self, state: ScheduleState, schedule: Schedule) -> bool:
        """Handle what is due, and say whether the state has changed since it was read."""
        at = self._queue.now()
        due = self._next_due(state)
        if not schedule_state.is_disbelieved(state, at=at) and (due is None or due > at):
            return False
        try:
            firing = schedule_state.fire(state, schedule, at=at)
            if firing is None:
                return False
            records = self._schedules.records_of(firing, schedule, at=at)
            is_first = await self._queue.save_schedule(firing.state, records)
        except StorageError:
            raise
        except (QueueError, ValueError) as error:
            # It would be the same at every look: this schedule is left to workers that can, until its state changes.
            self._next[state.name] = (state.version, None)
            log.error("schedule.failed", extra={"schedule": state.name, "error": str(error)})  # noqa: TRY400 -- the error says it all
            return False
        if is_first:
            made = len(records)
            if schedule.call.key is not None:
                made = len(await self._queue.get_many([record.id for record in records]))
            if records and not made:
                await self._queue.save_schedule(schedule_state.leave_out(firing.state, known=state))
            facts = {"schedule": state.name, "records": made, "due": firing.state.handled_until.isoformat()}
            if firing.caught_up or firing.dropped:
                since = state.handled_until.isoformat()
                facts |= {"caught_up": len(firing.caught_up), "dropped": firing.dropped, "since": since}
                log.warning("schedule.missed", extra=facts)
            else:
                log.info("schedule.fired", extra=facts)
        return True

    def _next_due(self, state: ScheduleState) -> datetime | None:
        if state.paused:
            return None
        version, due = self._next.get(state.name, (0, None))
        if version != state.version:
            try:
                due = next(state.plan.after(state.handled_until), None)
            except QueueError as error:
                log.error("schedule.failed", extra={"schedule": state.name, "error": str(error)})  # noqa: TRY400 -- as above
                due = None
            self._next[state.name] = (state.version, due)
        return due

    def _is_upkeep_due(self) -> bool:
        at = self._queue.now()
        # Also when the clock was set back.
        if self._upkeep_at is None or not timedelta() < self._upkeep_at - at <= SEEN_INTERVAL:
            share = random.uniform(0.75, 1)  # noqa: S311 -- so that not all workers do it at once
            self._upkeep_at = at + SEEN_INTERVAL * share
            return True
        return False

    async def _keep_up(self, states: Sequence[ScheduleState], declared: Mapping[str, Schedule]) -> None:
        """Say which schedules are still declared, and find those that nobody declares any more."""
        at = self._queue.now()
        for state in states:
            step = schedule_state.see if state.name in declared else schedule_state.retire
            after = step(state, at=at)
            if after is not None and await self._queue.save_schedule(after) and after.retired:
                log.info("schedule.retired", extra={"schedule": state.name})
        # A state that is not there any more is entered anew.
        self._entered &= {state.name for state in states}
