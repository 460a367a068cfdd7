"""Notes in the queue who has changed something with a command."""

import getpass
import socket

from lq_core.foundation.errors import StorageError
from lq_core.service import QueueService


async def note(service: QueueService, action: str, subject: str) -> None:
    """Keep that the user of this process has changed something; a command does not fail because of this."""
    try:
        await service.note_action(action, subject, actor=f"{_user()}@{socket.gethostname()}")
    except StorageError:
        return


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # A container may have a user without a name.
        return "unknown"
