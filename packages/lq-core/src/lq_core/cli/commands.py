"""The one tree of commands; whoever mounts it says where the configuration comes from."""

from collections.abc import Callable

import click

from lq_core.cli.doctor import doctor_command
from lq_core.cli.migration import migrate_command
from lq_core.cli.queues import queues_group
from lq_core.cli.records import records_group
from lq_core.cli.schedules import schedules_group
from lq_core.cli.session import Session
from lq_core.cli.stats import stats_command, tasks_command, workers_command
from lq_core.cli.worker import worker_command
from lq_core.config import QueueConfig


def queue_commands(read: Callable[[], QueueConfig]) -> list[click.Command]:
    """
    Make the commands of a queue, to be added to a click group.

    *read* is called when a command runs; it may raise QueueError, which becomes one line and exit code 1.
    """
    session = Session(read)
    return [
        doctor_command(session),
        migrate_command(session),
        queues_group(session),
        records_group(session),
        schedules_group(session),
        stats_command(session),
        tasks_command(session),
        worker_command(session),
        workers_command(session),
    ]
