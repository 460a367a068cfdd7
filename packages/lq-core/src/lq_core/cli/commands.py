"""The commands of a queue, for ``lq`` and for other programs that add them."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Final

import click

from lq_core.cli.backup import backup
from lq_core.cli.doctor import doctor
from lq_core.cli.enqueue import enqueue
from lq_core.cli.events import events
from lq_core.cli.migration import migrate
from lq_core.cli.queues import queues
from lq_core.cli.records import records
from lq_core.cli.schedules import schedules
from lq_core.cli.stats import stats, tasks, workers
from lq_core.cli.web import web
from lq_core.cli.worker import worker
from lq_core.config.queue_config import QueueConfig

COMMANDS: Final[list[click.Command]] = [
    *(backup, doctor, enqueue, events, migrate, queues, records, schedules, stats, tasks, web, worker, workers)
]


def queue_commands(read: Callable[[], QueueConfig]) -> list[click.Command]:
    """
    Make the commands of a queue, for a click group of yours.

    A command calls *read* to get the configuration. If *read* raises a QueueError, the command prints it in one line
    and exits with 1.
    """
    commands = deepcopy(COMMANDS)
    for command in commands:
        for each in every(command):
            each.context_settings["obj"] = read
    return commands


def every(command: click.Command) -> Iterator[click.Command]:
    """Yield a command and, if it is a group, every command in it."""
    yield command
    if isinstance(command, click.Group):
        for one in command.commands.values():
            yield from every(one)
