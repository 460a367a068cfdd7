"""The actions on one record, queue or schedule, for the API and for the buttons of the pages."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from uuid import UUID

from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_409_CONFLICT

from lq_core import ConfigurationError, QueueService
from lq_core.service.signals import not_taken
from lq_web.config import Connection, WebConfig
from lq_web.messages import NewSignal
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

SIGNAL_TIMEOUT: Final = 5.0
"""How many seconds a request waits until a running record can store a signal."""


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


async def signal(
    service: QueueService, config: WebConfig, connection: Connection, record_id: UUID, sent: NewSignal
) -> None:
    """
    Send a signal to a record, and log who did it.

    Raises HTTPException (409) if the record does not take it, and what the service raises.
    """
    if not await service.signal(record_id, sent.name, sent.value, timeout=SIGNAL_TIMEOUT):
        raise HTTPException(not_taken(record_id, sent.name), status_code=HTTP_409_CONFLICT)
    await note_action(service, config, connection, "signal record", str(record_id), signal=sent.name)
