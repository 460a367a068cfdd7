"""The options by which commands say which records are meant."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Final

import click

from lq_core.cli.names import split_names
from lq_core.queue import RecordFilter
from lq_core.record import TaskStatus
from lq_core.service import QueueService

NAMES: Final = "several with commas"
STATUS: Final = click.Choice([status.value for status in TaskStatus])

OPTIONS: Final = (
    click.option("--status", multiple=True, type=STATUS, help="May be repeated."),
    click.option("--queue", multiple=True, metavar="QUEUE", help=f"Of these queues; {NAMES}."),
    click.option("--task", multiple=True, metavar="TASK", help=f"Of these tasks; {NAMES}."),
    click.option("--backend", multiple=True, metavar="NAME", help=f"Of these execution backends; {NAMES}."),
    click.option("--key", help="With this unique key."),
    click.option("--schedule", metavar="NAME", help="Of this schedule."),
)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options; it takes them as one argument, *condition*."""

    @wraps(command)
    def with_condition(
        *,
        status: Sequence[str],
        queue: Sequence[str],
        task: Sequence[str],
        backend: Sequence[str],
        key: str | None,
        schedule: str | None,
        **others: object,
    ) -> None:
        condition = RecordFilter(
            statuses=tuple(TaskStatus(name) for name in status) or None,
            queues=split_names(queue) or None,
            task_names=split_names(task) or None,
            execution_backends=split_names(backend) or None,
            key=key,
            schedule=schedule,
        )
        command(condition=condition, **others)

    for option in reversed(OPTIONS):
        with_condition = option(with_condition)
    return with_condition


async def none_matches(service: QueueService, condition: RecordFilter) -> str:
    """Say that no record matches, and which queues there are when one was named that holds none."""
    known = (await service.statistics()).counts
    unknown = [queue for queue in condition.queues or () if queue not in known]
    if not unknown or not known:
        return "No record matches."
    return f"No record matches: none is in {', '.join(unknown)}. Queues with records: {', '.join(sorted(known))}."
