"""How lq logs: an event's name, its facts as ``extra``, and both in the message, so that any format shows them."""

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast


class EventLog(logging.LoggerAdapter[logging.Logger]):
    """
    Writes ``task.completed task_name=mail.send seconds=0.12`` for ``info("task.completed", extra={...})``.

    Every fact is an attribute of the log record as well, and so is ``event``, the bare name: a formatter that writes
    JSON needs no parsing.
    """

    def process(self, msg: object, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Put the facts into the message; called only for what is logged at all."""
        facts = cast("Mapping[str, object]", kwargs.get("extra") or {})
        kwargs["extra"] = {"event": msg, **facts}
        told = [f"{name}={_told(value)}" for name, value in facts.items() if value is not None]
        return " ".join([str(msg), *told]), kwargs


def event_log(name: str = "lq") -> EventLog:
    """Return the log of this name, such as ``"lq.postgres"``; it belongs to :mod:`logging` and is set up there."""
    return EventLog(logging.getLogger(name))


def _told(value: object) -> str:
    """Keep a fact on its line, and apart from the next one."""
    text = ",".join(map(str, cast("Sequence[object]", value))) if isinstance(value, (list, tuple)) else str(value)
    return text if text.isprintable() and text and " " not in text else repr(text)
