"""Tells in the log how every attempt ended."""

import logging
from contextlib import suppress
from datetime import datetime

from lq_core.event_log import event_log
from lq_core.outcome import Outcome, outcome_of
from lq_core.record import HistoryEntry, QueuedTaskRecord

log = event_log()


def tell_outcome(before: QueuedTaskRecord, after: QueuedTaskRecord) -> None:
    """Log ``task.completed``, ``task.retried`` and the like: what ended well as information, the rest as a warning."""
    try:
        _tell(before, after)
    except Exception:
        # A filter of the application's may raise; the outcome is recorded, and stands.
        with suppress(Exception):  # It may refuse this as well.
            log.warning("task.outcome_not_told", extra={"record_id": str(before.id)}, exc_info=True)


def _tell(before: QueuedTaskRecord, after: QueuedTaskRecord) -> None:
    outcome = outcome_of(before, after)
    level = logging.INFO if outcome is Outcome.COMPLETED else logging.WARNING
    if log.isEnabledFor(level):
        event = f"task.{outcome.value}"
        log.log(level, event, extra=_facts(before, after, outcome))


def _facts(before: QueuedTaskRecord, after: QueuedTaskRecord, outcome: Outcome) -> dict[str, object]:
    facts: dict[str, object] = {
        "task_name": before.task_name,
        "record_id": str(before.id),
        "attempt": before.attempt,
    }
    if outcome is Outcome.LOST:
        return facts | {"epoch": before.epoch}
    ended = after.history[-1] if after.history else None
    began = before.started_at or before.scheduled_at
    facts["seconds"] = round((_moment_of_end(after, ended) - began).total_seconds(), 3)
    if outcome is not Outcome.COMPLETED and ended is not None and ended.failure is not None:
        facts["error"] = f"{ended.failure.type}: {ended.failure.message}"
    return facts


def _moment_of_end(after: QueuedTaskRecord, ended: HistoryEntry | None) -> datetime:
    return after.finished_at or (ended.at if ended else after.scheduled_at)
