"""``litestar queues``: the commands of ``lq``, for the queue of the application."""

from collections.abc import Callable

from click import Group

from lq_core import QueueConfig
from lq_core.cli import queue_commands


def queues_group(read: Callable[[], QueueConfig]) -> Group:
    """Make the group; what ``lq`` calls ``queues list`` and so on stands in it directly."""
    group = Group("queues", help="Run and look after the background tasks of this application.")
    for command in queue_commands(read):
        for each in command.commands.values() if isinstance(command, Group) and command.name == "queues" else [command]:
            group.add_command(each)
    return group
