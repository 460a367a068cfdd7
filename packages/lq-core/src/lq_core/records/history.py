"""The history of a record: bounded, and no kind of entry crowds out the others."""

from datetime import datetime
from typing import Final

from lq_core.records.record import HistoryEntry, QueuedTaskRecord, TaskFailure

LOG: Final = "log"
"""The event of a line that a task has logged."""

RELEASED: Final = "released"
"""The event of a reservation that was taken back."""

PASSED_ON: Final = "passed_on"
"""The event of a worker that could not read the record; a record has one, with the time of the first such release."""

RETRIED_BY_HAND: Final = "retried_by_hand"
"""The event of a retry by hand, which gives the whole patience back, too."""

STEP: Final = "step"
"""The event of a step that has completed, with its name and result."""

WAITING: Final = "waiting"
"""The event of a task that begins to wait for a signal, with the name of the signal."""

SIGNAL: Final = "signal"
"""The event of a signal, with its name and value."""

TIMED_OUT: Final = "timed_out"
"""The event of a signal that did not come in time, with its name."""

LASTING: Final = frozenset({STEP, WAITING, SIGNAL, TIMED_OUT})
"""The events that are never dropped, because the next attempt needs them."""

MAX_LASTING: Final = 200
"""How many such entries a record takes."""

MAX_HISTORY: Final = 20
"""How many other entries a record keeps beside the log of its task; the oldest go first, releases before others."""

MAX_LOG: Final = 50
"""How many lines of its task's log a record keeps; older ones are dropped."""


def told(
    record: QueuedTaskRecord,
    event: str,
    at: datetime,
    failure: TaskFailure | None = None,
    message: str | None = None,
    *,
    value: str | None = None,
) -> tuple[HistoryEntry, ...]:
    """Return the history with one more entry; the oldest ones go first, releases of reservations before others."""
    entry = HistoryEntry(
        at=at,
        event=event,
        attempt=record.attempt,
        started_at=record.started_at,
        worker_id=record.worker_id,
        failure=failure,
        message=message,
        value=value,
    )
    limit = MAX_LOG if event == LOG else MAX_HISTORY
    alike = [place for place, old in enumerate(record.history) if _kind(old.event) == _kind(event)]
    if event in LASTING or len(alike) < limit:
        return (*record.history, entry)
    first = next((place for place in alike if record.history[place].event == RELEASED), alike[0])
    return (*record.history[:first], *record.history[first + 1 :], entry)


def passed_on(record: QueuedTaskRecord) -> HistoryEntry | None:
    """Find the release by the first worker that could not read the record, if no other worker has started it since."""
    for entry in reversed(record.history):
        if entry.event == RETRIED_BY_HAND:
            return None
        if entry.event == PASSED_ON:
            return entry if entry.attempt == record.attempt else None
    return None


def _kind(event: str) -> str:
    return LOG if event == LOG else STEP if event in LASTING else ""
