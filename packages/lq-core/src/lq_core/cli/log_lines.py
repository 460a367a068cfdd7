"""What is logged, as lines for a person: the moment, the event and its facts."""

import logging
from datetime import UTC, datetime
from typing import Final

LEVELS: Final = ("debug", "info", "warning", "error")


class EventFormatter(logging.Formatter):
    """Writes one line an event: ``14:03:59 worker.started worker_id=...``, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one event."""
        moment = datetime.fromtimestamp(record.created, UTC)
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        line = f"{moment:%H:%M:%S} {level}{record.getMessage()}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def show_events(level: str) -> None:
    """Print what is logged on stderr, unless the application has set up its logging itself."""
    if not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(EventFormatter())
        logging.getLogger().addHandler(handler)
        logging.getLogger().setLevel(level.upper())
