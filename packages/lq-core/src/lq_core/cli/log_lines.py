"""What lq logs, as lines for a person: the moment, the event and its facts."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")

_USUAL: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """Writes one line an event: ``14:03:59 worker.started worker_id=...``, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one event."""
        facts: Mapping[str, object] = {name: value for name, value in vars(record).items() if name not in _USUAL}
        moment = datetime.fromtimestamp(record.created, UTC)
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        line = f"{moment:%H:%M:%S} {level}{record.getMessage()}"
        line += "".join(f" {name}={value}" for name, value in facts.items())
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def show_events(level: str) -> None:
    """Print what is logged on stderr, unless the application has set up its logging itself."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(EventFormatter())
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(level.upper())
