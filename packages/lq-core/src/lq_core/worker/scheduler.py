"""
Makes a record for each due time of the schedules that this process declares.

Every worker tries to handle each due time, and one of them succeeds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from time import monotonic
from typing import Final, TypeVar

from lq_core.foundation.errors import QueueError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.schedules import schedule_state
from lq_core.schedules.schedule import Schedule, known_schedules
from lq_core.schedules.schedule_state import SEEN_INTERVAL, ScheduleState
from lq_core.service import QueueService
from lq_core.service.schedules import change, due_record

Answer = TypeVar("Answer")

log = event_log()

SHORTEST_PAUSE: Final = 0.001
"""Seconds between two looks that find nothing due; a slow look is repeated after ten times its time."""

AT_ONCE: Final = 50
"""How many states are stored at the same time, so that they share commits."""


class Scheduler:
    """Declares, fires and retires schedules; *declared* returns the schedules of this process, by name."""

    def __init__(
        self, service: QueueService, *, declared: Callable[[], Mapping[str, Schedule]] = known_schedules
    ) -> None:
        self._queue = service.queue_backend
        self._config = service.config
        self._service = service
        self._read_declared = declared
        self._entered: set[str] = set()
        """The schedules that this process has declared."""

        self._next: dict[str, tuple[int, datetime | None]] = {}
        """The next due time of each schedule, with the version of its state."""

        self._upkeep_at: datetime | None = None

    async def step(self) -> float:
        """Handle the due times, and return the seconds until the next one."""
        declared = self._read_declared()
        if new := sorted(declared.keys() - self._entered):
            known = {state.name: state for state in await self._queue.schedules()}
            await _at_once(self._enter(declared[name], known.get(name)) for name in new)
        is_upkeep_due = self._is_upkeep_due()
        if not declared and not is_upkeep_due:
            return self._config.poll_interval
        began = monotonic()
        states = await self._queue.schedules()
        took = monotonic() - began
        ours = [(state, declared[state.name]) for state in states if state.name in declared]
        answers = await _at_once(self._fire(state, schedule) for state, schedule in ours if self._is_due(state))
        if is_upkeep_due:
            await self._keep_up(states, declared)
        for answer in answers:
            if isinstance(answer, StorageError):  # For example, a transaction holds the key.
                raise answer
        if any(answers):
            return 0
        soonest = min((due for state, _ in ours if (due := self._next_due(state)) is not None), default=None)
        if soonest is None:
            return self._config.poll_interval
        # At most one poll interval, to see the changes of others.
        wait = (soonest - self._queue.now()).total_seconds()
        return min(max(wait, SHORTEST_PAUSE, 10 * took), self._config.poll_interval)

    async def _enter(self, schedule: Schedule, known: ScheduleState | None) -> None:
        declare = partial(schedule_state.declare, schedule=schedule, at=self._queue.now())
        if not await change(self._queue, schedule.name, declare, known=known):
            # The next upkeep tries again. Until then, the other schedules do not wait for it.
            log.error("schedule.not_declared", extra={"schedule": schedule.name})
        self._entered.add(schedule.name)

    def _is_due(self, state: ScheduleState) -> bool:
        at = self._queue.now()
        due = self._next_due(state)
        return schedule_state.is_disbelieved(state, at=at) or (due is not None and due <= at)

    async def _fire(self, state: ScheduleState, schedule: Schedule) -> bool | StorageError:
        """Handle due times; True if the state has changed since it was read."""
        at = self._queue.now()
        try:
            firing = schedule_state.fire(state, schedule, at=at)
            if firing is None:
                return False
            records = [
                due_record(
                    self._service.record_of(schedule.call, at=at), schedule, due, is_late=due in firing.caught_up
                )
                for due in firing.times
            ]
            is_first = await self._queue.save_schedule(firing.state, records)
        except StorageError as error:
            return error
        except (QueueError, ValueError) as error:
            # Leave this schedule to other workers until its state changes, because each look would fail again.
            self._next[state.name] = (state.version, None)
            log.error("schedule.failed", extra={"schedule": state.name, "error": str(error)})  # noqa: TRY400 -- the error is enough
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
        # The first comparison also covers a clock that was set back.
        if self._upkeep_at is None or not timedelta() < self._upkeep_at - at <= SEEN_INTERVAL:
            share = random.uniform(0.75, 1)  # noqa: S311 -- spreads the workers
            self._upkeep_at = at + SEEN_INTERVAL * share
            return True
        return False

    async def _keep_up(self, states: Sequence[ScheduleState], declared: Mapping[str, Schedule]) -> None:
        """Confirm the declared schedules, and retire those that no process declares any more."""
        at = self._queue.now()
        steps = [
            (schedule_state.see if state.name in declared else schedule_state.retire)(state, at=at) for state in states
        ]
        await _at_once(self._save(after) for after in steps if after is not None)
        # Declare a deleted state again.
        self._entered &= {state.name for state in states}

    async def _save(self, after: ScheduleState) -> None:
        if await self._queue.save_schedule(after) and after.retired:
            log.info("schedule.retired", extra={"schedule": after.name})


async def _at_once(steps: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """Take steps together, a batch at a time."""
    rest, answers = iter(steps), list[Answer]()
    while batch := list(islice(rest, AT_ONCE)):
        answers += await asyncio.gather(*batch)
    return answers
