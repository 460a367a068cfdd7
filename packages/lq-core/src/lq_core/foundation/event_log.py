"""Logs events with a name and facts; the message has both, so that any log format shows them."""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, cast


class EventLog(logging.LoggerAdapter[logging.Logger]):
    """
    Writes ``task.completed task_name=mail.send seconds=0.12`` for ``info("task.completed", extra={...})``.

    The fact ``stack`` follows on lines of its own. Every fact is also an attribute of the log record, and ``event`` is
    the bare name, for formatters that write JSON.
    """

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Put the facts into the message; logging calls this only for enabled levels."""
        facts = cast("Mapping[str, object]", kwargs.get("extra") or {})
        kwargs["extra"] = {"event": msg, **facts}
        told = [f"{name}={_told(value)}" for name, value in facts.items() if value is not None and name != "stack"]
        stack = f"\n{facts['stack']}" if "stack" in facts else ""
        return " ".join([str(msg), *told]) + stack, kwargs


class EventFormatter(logging.Formatter):
    """Writes one line for each event, as in ``14:03:59 worker.started worker_id=...``, and its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one event, with its time in UTC. The level is shown from WARNING on."""
        moment = datetime.fromtimestamp(record.created, UTC)
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        line = f"{moment:%H:%M:%S} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def event_log(name: str = "lq") -> EventLog:
    """Return the log with this name, as in ``"lq.postgres"``; configure it with :mod:`logging`."""
    return EventLog(logging.getLogger(name))


def show_events(level: str = "info", *, stream: TextIO | None = None) -> None:
    """Print log records to *stream* (stderr by default), unless the application has configured logging itself."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(EventFormatter())
        root.addHandler(handler)
        root.setLevel(level.upper())


def _told(value: object) -> str:
    """Write a fact on one line, and quote it if it contains a space."""
    text = ",".join(map(str, cast("Sequence[object]", value))) if isinstance(value, (list, tuple)) else str(value)
    return text if text.isprintable() and text and " " not in text else repr(text)
