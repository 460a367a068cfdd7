"""The command ``lq``; it comes with the extra ``cli``. Litestar's ``queues`` group is made of the same commands."""

from lq_core.cli.commands import queue_commands
from lq_core.cli.program import main

__all__ = ["main", "queue_commands"]
