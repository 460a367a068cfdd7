"""What a record keeps of an exception: the cause, also of an exception group, and the traceback."""

import traceback
from asyncio import CancelledError
from pathlib import Path
from typing import Final

from lq_core.foundation.exception_groups import causes_of
from lq_core.records.record import TaskFailure
from lq_core.tasks.context import NonRetryable, storable

TRACEBACK_LIMIT: Final = 8_000
"""How many characters of a message or a traceback a record keeps."""

_HERE: Final = str(Path(__file__).parent)


def failure_of(error: BaseException) -> TaskFailure:
    """
    Keep the type, the message and the traceback of an exception; a long traceback is cut in the middle.

    Of an exception group, keep the type of its first cause and the messages of all, a NonRetryable first.
    """
    first, *others = sorted(causes_of(error), key=lambda cause: not isinstance(cause, NonRetryable))
    message = _message(first)
    if others:
        told = "; ".join(f"{type(each).__name__}: {_message(each)}" for each in others)
        message = f"{message} (and {len(others)} more: {told})"
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_HERE):
        frames = frames.tb_next  # The first frames are our own calls.
    is_group = first is not error  # Its tracebacks are those of its exceptions.
    trace = "".join(traceback.format_exception(type(error), error, frames)) if frames or is_group else ""
    if len(trace) > TRACEBACK_LIMIT:
        half = TRACEBACK_LIMIT // 2
        trace = f"{trace[:half]}\n[... {len(trace) - TRACEBACK_LIMIT} characters left out ...]\n{trace[-half:]}"
    return TaskFailure(
        type=type(first).__name__, message=storable(message[:TRACEBACK_LIMIT]), traceback=storable(trace)
    )


def _message(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 -- the __str__ of the user's exception may raise anything
        return "(this exception cannot be printed)"
    if isinstance(error, CancelledError):
        return f"The task cancelled itself, or awaited something that was cancelled: {message or 'no reason given'}"
    return message[:TRACEBACK_LIMIT]
