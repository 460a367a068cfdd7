"""Which statements notify the workers: none where the settings say so, and none while the server has no room for it."""

from time import monotonic
from typing import Final

from lq_core.foundation.event_log import event_log

log = event_log("lq.postgres")

PAUSE: Final = 60.0
"""Seconds without notifications after the server had no room for one."""


class Channel(str):
    """The channel of a notification, as the parameter of a statement that does not notify without it."""

    __slots__ = ()


class Notifier:
    """Gives the channel to the statements that may bring work."""

    def __init__(self, name: str, *, notify: bool) -> None:
        self._name = Channel(name)
        self._silent_until = 0.0 if notify else float("inf")

    @property
    def channel(self) -> Channel | None:
        """The channel, or None if the statement must not notify."""
        return self._name if monotonic() >= self._silent_until else None

    def pause(self) -> None:
        """Notify nobody for some time: workers poll, so a notification must never cost a record."""
        self._silent_until = max(self._silent_until, monotonic() + PAUSE)
        log.warning(
            "notifications.paused",
            extra={"channel": self._name, "seconds": PAUSE, "reason": "the NOTIFY queue of the server is full"},
        )


def without_channel(parameters: tuple[object, ...]) -> tuple[object, ...]:
    """Return the parameters of the same statement that notifies nobody."""
    return tuple(None if isinstance(each, Channel) else each for each in parameters)
