"""The command ``lq``, from the extra ``cli``. ``litestar queues`` has the same commands."""

from lq_core.cli.commands import queue_commands
from lq_core.cli.program import main

__all__ = ["main", "queue_commands"]
