"""Doing the same to all records that match: they are counted first, and somebody has to say yes."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

import click

from lq_core.cli.filters import none_matches
from lq_core.queue import RecordFilter
from lq_core.record import TaskStatus
from lq_core.service import QueueService
from lq_core.service.bulk import narrowed

YES = click.option("--yes", is_flag=True, help="Do it to all records that match, without a question.")
IDS = click.argument("record_ids", metavar="[ID...]", type=click.UUID, nargs=-1)

EVERYTHING = RecordFilter()


def check_that_it_is_clear(record_ids: Sequence[UUID], condition: RecordFilter) -> None:
    """Refuse ids and filters together, and neither of them, as wrong usage."""
    if record_ids and condition != EVERYTHING:
        raise click.UsageError("Name records by their ids or by filters such as --queue, not by both.")
    if not record_ids and condition == EVERYTHING:
        raise click.UsageError("Missing argument 'ID...', or a filter such as --queue.")


async def do_to_all(
    service: QueueService,
    condition: RecordFilter,
    act: Callable[[RecordFilter], Awaitable[int]],
    *,
    statuses: Sequence[TaskStatus],
    verb: str,
    yes: bool,
) -> None:
    """Count what matches and has one of *statuses*, and do it when that is wanted; else the command ends with 1."""
    wanted = narrowed(condition, statuses)
    number = await service.count(wanted)
    records = f"{number} record{'' if number == 1 else 's'}"
    if not number:
        click.echo(await none_matches(service, condition), err=True)
        return
    if not yes:
        click.echo(f"{records} would be {verb}.")
        if not sys.stdin.isatty():
            click.echo("Nothing was done: repeat the command with --yes.", err=True)
            raise click.exceptions.Exit(1)
        click.confirm("Do it?", abort=True)
    done = await act(wanted)
    click.echo(f"{done} of {records} {'was' if done == 1 else 'were'} {verb}.")
