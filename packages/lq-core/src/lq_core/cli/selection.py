"""Changes the records with some ids, or all records that match filters, after a count and a confirmation."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import wraps
from typing import NamedTuple

import click

from lq_core.cli.actor import note
from lq_core.cli.filters import EVERYTHING, filtered, none_matches
from lq_core.cli.ids import find_record, record_id
from lq_core.cli.output import echo
from lq_core.foundation.errors import QueueError
from lq_core.queue import RecordFilter
from lq_core.records.record import QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService
from lq_core.service.bulk import narrowed

One = Callable[[QueueService, QueuedTaskRecord], Awaitable[str]]
"""Changes a record, and returns its new state."""

Many = Callable[[RecordFilter], AsyncGenerator[int]]
"""Changes all matching records page by page, and yields how many."""


class Selection(NamedTuple):
    """The records that a command changes: *ids*, or all that match *condition*."""

    ids: Sequence[str]
    condition: RecordFilter
    yes: bool
    dry_run: bool

    async def change(
        self, service: QueueService, one: One, many: Many, *, statuses: Sequence[TaskStatus], done: str
    ) -> None:
        """
        Change each record with *one*, or all matching ones with *many*.

        Records with another status than *statuses* are not changed. *done* is the participle for the messages, such as
        "cancelled".
        """
        if self.ids:
            await self._change_each(service, one, statuses=statuses, done=done)
        else:
            await self._change_all(service, many, narrowed(self.condition, statuses), done=done)

    async def _change_each(self, service: QueueService, one: One, *, statuses: Sequence[TaskStatus], done: str) -> None:
        """Change the others even if one fails; then the command exits with 1."""
        refused = False
        for typed in self.ids:
            try:
                record = await find_record(service, typed)
                if self.dry_run:
                    would = "would" if record.status in statuses else "would not"
                    echo(f"{record.id}  {record.status}; {would} be {done}")
                else:
                    echo(f"{record.id}  {await one(service, record)}")
                    await note(service, f"{done} record", str(record.id))
            except QueueError as error:
                refused = True
                echo(f"Error: {error}", err=True)
        if refused:
            raise click.exceptions.Exit(1)

    async def _change_all(self, service: QueueService, many: Many, condition: RecordFilter, *, done: str) -> None:
        """Count, ask and change. Without a terminal to ask in, the command exits with 1."""
        number = await service.count(condition)
        records = f"{number} record{'' if number == 1 else 's'}"
        if not number:
            echo(await none_matches(service, self.condition), err=True)
            return
        if self.dry_run or not self.yes:
            echo(f"{records} would be {done}.")
        if self.dry_run:
            return
        if not self.yes and not (sys.stdin and sys.stdin.isatty()):
            echo("Nothing was changed. To go ahead, repeat the command with --yes.", err=True)
            raise click.exceptions.Exit(1)
        if not self.yes and not click.confirm("Continue?"):
            echo("Nothing was changed.", err=True)
            raise click.exceptions.Exit(1)
        await note(service, f"{done} records", f"up to {number}")
        await _count_to_the_end(many(condition), f"of {records}", done)


async def _count_to_the_end(numbers: AsyncGenerator[int], of: str, done: str) -> None:
    """Print how many records were changed, also when Ctrl-C ends the command after the page that is under way."""
    counts: list[int] = []
    is_asked_to_stop = False

    async def count() -> None:
        async for number in numbers:
            counts.append(number)
            if is_asked_to_stop:
                break

    counting = asyncio.create_task(count())
    try:
        await asyncio.shield(counting)
    except asyncio.CancelledError:
        is_asked_to_stop = True
        await counting
        raise
    finally:
        changed = sum(counts)
        echo(f"{changed} {of} {'was' if changed == 1 else 'were'} {done}.")


def selected(command: Callable[..., None]) -> Callable[..., None]:
    """Add ids, filters, ``--yes`` and ``--dry-run`` to a command, which gets them as *selection*."""

    @wraps(command)
    def checked(*, record_ids: Sequence[str], condition: RecordFilter, yes: bool, dry_run: bool) -> None:
        if record_ids and condition != EVERYTHING:
            raise click.UsageError("Select records by ids or by filters such as --queue, not by both.")
        if not record_ids and condition == EVERYTHING:
            raise click.UsageError("Missing argument 'ID...', or a filter such as --queue.")
        command(selection=Selection(record_ids, condition, yes, dry_run))

    dry_run = click.option("--dry-run", is_flag=True, help="Count or show the records, and change nothing.")
    yes = click.option("--yes", is_flag=True, help="Change all matching records without asking.")
    ids = click.argument("record_ids", metavar="[ID...]", type=record_id, nargs=-1)
    return ids(filtered(yes(dry_run(checked))))
