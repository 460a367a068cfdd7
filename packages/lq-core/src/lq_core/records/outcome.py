"""How an attempt ended, in one word."""

from enum import StrEnum
from typing import Final

from lq_core.foundation.quick_enum import quick_enum
from lq_core.records.record import QueuedTaskRecord, TaskStatus


@quick_enum
class Outcome(StrEnum):
    """How an attempt ended; ``LOST`` if the record has another owner, so that nothing was recorded."""

    COMPLETED = "completed"
    RETRIED = "retried"
    FAILED = "failed"
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    PASSED_ON = "passed_on"
    """The worker cannot read the record: it does not know the task, or the arguments do not fit."""

    LOST = "lost"


_TOLD: Final = {outcome.value: outcome for outcome in Outcome}


def outcome_of(before: QueuedTaskRecord, after: QueuedTaskRecord) -> Outcome:
    """Return the outcome of an attempt at *before* that was recorded as *after*."""
    if after.epoch != before.epoch + 1:
        return Outcome.LOST
    if after.status is TaskStatus.COMPLETED:
        return Outcome.COMPLETED
    return _TOLD.get(after.history[-1].event, Outcome.LOST) if after.history else Outcome.LOST
