"""Logs how every attempt ended."""

import logging
from contextlib import suppress

from lq_core.foundation.event_log import event_log
from lq_core.records.outcome import Outcome
from lq_core.records.record import QueuedTaskRecord
from lq_core.records.steps import awaited
from lq_core.records.waiting import waiting_since

log = event_log()


def tell_outcome(before: QueuedTaskRecord, after: QueuedTaskRecord, outcome: Outcome, *, passed_on: set[str]) -> None:
    """
    Log ``task.completed`` as information, and every other outcome, as in ``task.retried``, as a warning.

    A record that was passed on is a warning only if its task is not in *passed_on* yet: there can be very many.
    """
    try:
        level = logging.INFO if outcome is Outcome.COMPLETED else logging.WARNING
        if outcome is Outcome.SNOOZED and awaited(after) is not None:
            level = logging.INFO
        if outcome is Outcome.PASSED_ON:
            level = logging.DEBUG if before.task_name in passed_on else logging.WARNING
            passed_on.add(before.task_name)
        if log.isEnabledFor(level):
            event = f"task.{outcome.value}"
            log.log(level, event, extra=_facts(before, after, outcome))
    except Exception:
        # A log filter of the application may raise, also below; the outcome is already recorded.
        with suppress(Exception):
            log.warning("task.outcome_not_told", extra={"record_id": str(before.id)}, exc_info=True)


def _facts(before: QueuedTaskRecord, after: QueuedTaskRecord, outcome: Outcome) -> dict[str, object]:
    facts: dict[str, object] = {
        "task_name": before.task_name,
        "record_id": str(before.id),
        "attempt": before.attempt,
    }
    if outcome is Outcome.LOST:
        return facts | {"epoch": before.epoch}
    last = after.history[-1] if after.history else None
    if outcome is not Outcome.PASSED_ON:
        ended = after.finished_at or (last.at if last else after.scheduled_at)
        facts["seconds"] = round((ended - (before.started_at or waiting_since(before))).total_seconds(), 3)
    if outcome is not Outcome.COMPLETED and last is not None and last.failure is not None:
        facts["error"] = f"{last.failure.type}: {last.failure.message}"
    return facts
