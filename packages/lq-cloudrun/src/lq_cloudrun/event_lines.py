"""Shows lq's events as lines that a person can read in the logs of an execution."""

import logging
from typing import Final

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventLines(logging.Formatter):
    """One line an event: level, event, facts; then the traceback, if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one event."""
        facts = " ".join(
            f"{name}={value}"
            for name, value in vars(record).items()
            if name not in _STANDARD and value is not None and value != ""
        )
        line = f"{record.levelname} {record.getMessage()} {facts}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def show_events() -> None:
    """Show the events of lq on standard error, unless the program has said otherwise."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(EventLines())
    root.addHandler(handler)
    logging.getLogger("lq").setLevel(logging.INFO)
