"""A record whose executions are stopped from outside again and again fails: likely it runs into their limit."""

from lq_core.record import QueuedTaskRecord, TaskFailure


def failure_of_too_many(record: QueuedTaskRecord, *, most: int, timeout: float) -> TaskFailure | None:
    """Tell why a record is not started again; None while it was stopped fewer than *most* times."""
    events = [entry.event for entry in record.history]
    # Since a person last retried it.
    since = len(events) - events[::-1].index("revived") if "revived" in events else 0
    if events[since:].count("interrupted") < most:
        return None
    return TaskFailure(
        type="ExecutionInterrupted",
        message=(
            f"The task was stopped from outside before it could end, as often as is allowed: {most}. "
            f"If it takes long, give it a timeout, or raise timeout={timeout:g} of the configuration."
        ),
    )
