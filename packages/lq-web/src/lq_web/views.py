"""What the API answers and the pages show besides records: queues and schedules, as plain values."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from lq_core import RecordSummary
from lq_core.queue.messages import QueueState, Statistics
from lq_core.records.record import Limits, TaskStatus
from lq_core.schedules.schedule_state import ScheduleState


class Page(Struct, frozen=True, kw_only=True):
    """One page of records, newest first."""

    records: Sequence[RecordSummary]
    next: UUID | None
    """Give it as *before* to get the next page; None on the last one."""

    looked_at_newest: int | None = None
    """If the search ended after this many of the newest records, their number; older records may match too."""

    age: float = 0.0
    """Seconds since the search for running records; 0 if it is new. The state of each record is current."""


class QueueView(Struct, frozen=True, kw_only=True):
    """One queue."""

    name: str
    counts: Mapping[TaskStatus, int]
    paused: bool
    draining: bool
    limits: Limits | None

    def count(self, status: str) -> int:
        """Return the number of records with a status."""
        return self.counts.get(TaskStatus(status), 0)


class ScheduleView(Struct, frozen=True, kw_only=True):
    """One schedule."""

    name: str
    plan: str
    paused: bool
    retired: bool
    """Whether no worker declares it any more, so that it does not fire."""

    task: str
    next: Sequence[datetime]
    last_due: datetime | None


def queues_of(statistics: Statistics, states: Mapping[str, QueueState]) -> list[QueueView]:
    """List the queues that have records or a state, those with the most waiting records first."""
    views = [
        QueueView(
            name=name,
            counts=statistics.counts.get(name, {}),
            paused=state.paused,
            draining=state.draining is not None,
            limits=state.limits,
        )
        for name in {*statistics.counts, *states}
        for state in (states.get(name, QueueState()),)
    ]
    return sorted(views, key=lambda view: (-view.count(TaskStatus.PENDING), -view.count(TaskStatus.FAILED), view.name))


def schedule_of(state: ScheduleState, times: Sequence[datetime]) -> ScheduleView:
    """Show a schedule with its next due times."""
    plan = state.plan
    text = f"every {plan.every:g} s" if plan.every else f"{plan.cron} ({plan.timezone})"
    return ScheduleView(
        name=state.name,
        plan=text,
        paused=state.paused,
        retired=state.retired,
        task=state.task_name,
        next=times,
        last_due=state.last_due,
    )
