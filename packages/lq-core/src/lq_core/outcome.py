"""How an attempt ended, in one word."""

from enum import StrEnum
from typing import Final

from lq_core.record import QueuedTaskRecord, TaskStatus


class Outcome(StrEnum):
    """How an attempt ended; ``LOST`` when somebody else owns the record by now, so that nothing was recorded."""

    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    LOST = "lost"


_TOLD: Final = {outcome.value: outcome for outcome in Outcome}


def outcome_of(before: QueuedTaskRecord, after: QueuedTaskRecord) -> Outcome:
    """Name what came of an attempt at *before*, of which *after* was recorded."""
    if after.epoch != before.epoch + 1:
        return Outcome.LOST
    if after.status is TaskStatus.COMPLETED:
        return Outcome.COMPLETED
    return _TOLD.get(after.history[-1].event, Outcome.LOST) if after.history else Outcome.LOST
