"""What a record keeps in its history for the next attempts of its task: results of steps, and signals."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec.structs import replace

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.errors import ConfigurationError, PayloadTooLargeError
from lq_core.records import lifecycle
from lq_core.records.history import LASTING, MAX_LASTING, RETRIED_BY_HAND, SIGNAL, TIMED_OUT, WAITING, told
from lq_core.records.record import HistoryEntry, QueuedTaskRecord, TaskStatus


def kept(record: QueuedTaskRecord, event: str) -> Mapping[str, str]:
    """Return the values that a record keeps from events of this kind, as JSON by name."""
    return {entry.message or "": entry.value for entry in record.history if entry.event == event and entry.value}


def keep(
    record: QueuedTaskRecord, event: str, name: str, value: str, *, at: datetime, most_bytes: int
) -> QueuedTaskRecord:
    """
    Add a named value to the history of a record; its owner stays the same.

    Raises PayloadTooLargeError if its lasting values together take more than *most_bytes*.
    """
    values = [value, *(entry.value or "" for entry in record.history if entry.event in LASTING)]
    size = sum(len(each.encode()) for each in values)
    if size > most_bytes:
        raise PayloadTooLargeError(f"The history of {record.task_name}, up to the {event} {name!r},", size, most_bytes)
    return replace(record, history=told(record, event, at, message=name, value=value))


def check_room(record: QueuedTaskRecord, *, more: int = 0) -> None:
    """Raise ConfigurationError if a record has no room for another step or signal beside *more* new ones."""
    if sum(entry.event in LASTING for entry in record.history) + more >= MAX_LASTING:
        raise ConfigurationError(
            f"The record {record.id} has {MAX_LASTING} steps, waits and signals, which is the limit. Do more in one "
            "step, or in other tasks."
        )


def has_timed_out(record: QueuedTaskRecord, signal: str) -> bool:
    """Whether an attempt has gone on without a signal."""
    return _since_retry(record, TIMED_OUT, signal) is not None


def is_over(record: QueuedTaskRecord, signal: str, *, timeout: float | None, at: datetime) -> bool:
    """Whether *timeout* seconds have passed since the first wait for a signal."""
    begun = _since_retry(record, WAITING, signal)
    return begun is not None and timeout is not None and at >= begun.at + timedelta(seconds=timeout)


def wait(record: QueuedTaskRecord, signal: str, *, timeout: float | None, at: datetime) -> QueuedTaskRecord:
    """
    Put a running record back until a signal comes, at most *timeout* seconds from the first wait for it.

    No retry is spent.
    """
    begun = _since_retry(record, WAITING, signal)
    if begun is None:
        record = replace(record, history=told(record, WAITING, at, message=signal))
    waited = 0.0 if begun is None else (at - begun.at).total_seconds()
    delay = LONGEST_WAIT if timeout is None else max(0.0, timeout - waited)
    return lifecycle.snooze(record, delay=delay, at=at)


def awaited(record: QueuedTaskRecord) -> str | None:
    """Return the signal for which a record waits; None if it does not wait."""
    names = (entry.message or "" for entry in record.history if entry.event == WAITING)
    return next((name for name in names if _waits_for(record, name) and takes(record, name)), None)


def takes(record: QueuedTaskRecord, signal: str) -> bool:
    """Whether a record may still use a signal: it has not ended, has no such signal, and no wait for it is over."""
    return not (record.has_ended or signal in kept(record, SIGNAL) or has_timed_out(record, signal))


def give(record: QueuedTaskRecord, signal: str, value: str, *, at: datetime, most_bytes: int) -> QueuedTaskRecord:
    """
    Give a pending record a signal with a value, as JSON; it is due at once if it waits for this signal.

    Raises PayloadTooLargeError, and ConfigurationError if it has no room.
    """
    check_room(record)
    given = keep(record, SIGNAL, signal, value, at=at, most_bytes=most_bytes)
    to = replace(given, scheduled_at=at) if _waits_for(record, signal) else given
    return lifecycle.amend(given, to=to, reschedule=True)


def _waits_for(record: QueuedTaskRecord, signal: str) -> bool:
    last = next((entry.event for entry in reversed(record.history) if entry.event != SIGNAL), None)
    is_put_back = record.status is TaskStatus.PENDING and last == lifecycle.SNOOZED
    return is_put_back and _since_retry(record, WAITING, signal) is not None


def _since_retry(record: QueuedTaskRecord, event: str, name: str) -> HistoryEntry | None:
    """Find an event of this name, unless somebody has retried the record by hand since."""
    for entry in reversed(record.history):
        if entry.event == RETRIED_BY_HAND:
            return None
        if entry.event == event and entry.message == name:
            return entry
    return None
