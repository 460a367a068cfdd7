"""The actions on one record, queue or schedule, for the API and for the buttons of the pages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from lq_core import ConfigurationError, QueueService
from lq_web.config import Connection, WebConfig
from lq_web.safety import note_action

Act: TypeAlias = Callable[[QueueService, Any], Awaitable[object]]

ACTIONS: Final[Mapping[str, Mapping[str, Act]]] = {
    "record": {"retry": QueueService.retry, "cancel": QueueService.cancel},
    "queue": {"pause": QueueService.pause, "resume": QueueService.resume},
    "schedule": {
        "pause": QueueService.pause_schedule,
        "resume": QueueService.resume_schedule,
        "run": QueueService.run_schedule,
    },
}
"""The actions by the kind of their subject and by name."""


async def act(
    service: QueueService, config: WebConfig, connection: Connection, action: str, *, kind: str, subject: Any
) -> None:
    """
    Do an action on a record, by its id, or on a queue or schedule, by its name, and log who did it.

    Raises ConfigurationError for an unknown action, and what the service raises.
    """
    known = ACTIONS[kind]
    if action not in known:
        raise ConfigurationError(f"A {kind} has no action {action!r}; use one of: {', '.join(known)}.")
    await known[action](service, subject)
    await note_action(service, config, connection, f"{action} {kind}", str(subject))
