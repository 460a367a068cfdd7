"""``lq events``: prints the events of records, and follows them."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

import click

from lq_core.cli.display import print_json, progress_to_text, to_text
from lq_core.cli.filters import EVERYTHING, filtered, none_matches
from lq_core.cli.ids import find_record, record_id
from lq_core.cli.options import Command
from lq_core.cli.output import echo, is_read
from lq_core.cli.session import with_service
from lq_core.queue import RecordFilter
from lq_core.records.timeline import Event, timeline
from lq_core.service import QueueService

NEWEST: Final = 20
"""The number of records whose events are printed if none is named."""


@click.command("events", cls=Command, examples=("--follow", "--queue mail --follow --json", "01a208d6-f3cf"))
@click.argument("record_ids", metavar="[ID...]", type=record_id, nargs=-1)
@filtered
@click.option("-f", "--follow", is_flag=True, help="Print new events as they are stored, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in each line.")
@with_service
async def events(
    service: QueueService, *, record_ids: Sequence[str], condition: RecordFilter, follow: bool, as_json: bool
) -> None:
    """
    Print the events of records, oldest first.

    Without ids, it prints those of the 20 newest records that match the filters. With --follow, it prints new events
    from now on; with ids, all events until the records have ended.
    """
    if record_ids and condition != EVERYTHING:
        raise click.UsageError("Select records by ids or by filters such as --queue, not by both.")
    if follow and condition.statuses:
        raise click.UsageError("--follow shows every event of a record, whatever its status. Leave out --status.")
    records = [await find_record(service, one) for one in record_ids]
    if follow:
        echo("Following. Ctrl-C stops it.", err=True)
        of = [record.id for record in records] if record_ids else None
        async for event in service.events(condition, of=of):
            _print(event, as_json=as_json)
            if not is_read():
                return
        return
    records = records or await service.find(condition, limit=NEWEST)
    if not records:
        echo(await none_matches(service, condition), err=True)
    for event in sorted(chain.from_iterable(map(timeline, records)), key=lambda event: event.at):
        _print(event, as_json=as_json)


def _print(event: Event, *, as_json: bool) -> None:
    if as_json:
        print_json(event, indent=-1)
        return
    failure = f"{event.failure.type}: {event.failure.message}" if event.failure else ""
    words = (
        *(to_text(event.at), str(event.record_id), event.task_name, event.event),
        f"attempt {event.attempt}" if event.attempt else "",
        *(progress_to_text(event.progress), event.worker_id or "", failure, event.message or ""),
    )
    echo(to_text("  ".join(filter(None, words))).replace("\n", " "))
