"""``lq records``: lists, shows, cancels, retries, deletes and signals records."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

import click

from lq_core.cli.actor import note
from lq_core.cli.display import (
    Cell,
    print_facts,
    print_json,
    print_table,
    progress_to_text,
    record_to_json,
    to_duration,
    to_text,
)
from lq_core.cli.filters import filtered, none_matches
from lq_core.cli.ids import find_id, find_record, record_id
from lq_core.cli.options import Group, json_option
from lq_core.cli.output import echo
from lq_core.cli.selection import Selection, selected
from lq_core.cli.session import with_service
from lq_core.foundation.errors import QueueError
from lq_core.queue import RecordFilter
from lq_core.records.history import passed_on
from lq_core.records.record import TERMINAL, QueuedTaskRecord, TaskStatus
from lq_core.records.steps import awaited
from lq_core.service import QueueService, bulk
from lq_core.service.signals import not_taken
from lq_core.tasks.signals import value_of

ID: Final = "01a208d6-f3cf-7975-a1ad-42770b79d626"

records: Final = Group("records", help="List, show, cancel, retry and delete records, and send signals.")


@records.command("list", examples=("--status failed --queue mail", "--task shop.tasks.send --limit 100 --json"))
@filtered
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option("--before", metavar="ID", type=record_id, help="Continue after this record, the last one of a page.")
@json_option("whole records as a JSON list")
@with_service
async def list_records(
    service: QueueService, *, condition: RecordFilter, limit: int, before: str | None, as_json: bool
) -> None:
    """List records, newest first."""
    last = None if before is None else await find_id(service, before)
    page = await service.find(condition, limit=limit, before=last)
    if as_json:
        print_json([record_to_json(record) for record in page])
        return
    print_table(
        ("id", "status", "task", "queue", "age", "note"),
        [_row(record, at=service.queue_backend.now()) for record in page],
        empty="" if page else await none_matches(service, condition),
    )
    if len(page) == limit:
        echo(f"There may be more: --before {page[-1].id}", err=True)


@records.command("show", examples=(ID, f"{ID} --json"))
@click.argument("digits", metavar="ID", type=record_id)
@json_option("the whole record as JSON")
@with_service
async def show(service: QueueService, *, digits: str, as_json: bool) -> None:
    """
    Show one record with all its details.

    The beginning of its id is enough.
    """
    record = await find_record(service, digits)
    if as_json:
        print_json(record_to_json(record))
    else:
        print_facts(_facts(record))


@records.command("cancel", examples=(ID, "--queue mail --status pending"))
@selected
@with_service
async def cancel(service: QueueService, *, selection: Selection) -> None:
    """
    Cancel records, by ids or by filters.

    A waiting record is cancelled at once; a running task is asked to stop. With filters, the command counts the
    matching records and asks first, unless you pass --yes.
    """
    many = partial(bulk.cancel_many, service, service.cancel)
    await selection.change(service, _cancel, many, statuses=bulk.CANCELLABLE, done="cancelled")


@records.command("retry", examples=(ID, "--status failed --task shop.tasks.send"))
@selected
@with_service
async def retry(service: QueueService, *, selection: Selection) -> None:
    """
    Retry failed, cancelled or expired records.

    They start now, with their whole retry budget. With filters, the command counts the matching records and asks
    first, unless you pass --yes.
    """
    many = partial(bulk.retry_many, service)
    await selection.change(service, _retry, many, statuses=bulk.RETRYABLE, done="retried")


@records.command("delete", examples=(ID, "--status failed --task shop.tasks.send --dry-run"))
@selected
@with_service
async def delete(service: QueueService, *, selection: Selection) -> None:
    """
    Delete ended records, with their results.

    A record that has not ended, or that still holds its key, is not deleted. A record that waits for a deleted one
    counts it as not completed. With filters, the command counts the matching records and asks first, unless you pass
    --yes.
    """
    many = partial(bulk.delete_many, service.queue_backend)
    await selection.change(service, _delete, many, statuses=tuple(TERMINAL), done="deleted")


@records.command("signal", examples=(f"{ID} decision --value true", f"{ID} paid"))
@click.argument("digits", metavar="ID", type=record_id)
@click.argument("name")
@click.option("--value", default="null", show_default=True, metavar="JSON", help="The value of the signal.")
@with_service
async def signal(service: QueueService, *, digits: str, name: str, value: str) -> None:
    """
    Send a signal to a record, whose task takes it with wait_for.

    The beginning of the id is enough.
    """
    try:
        decoded = value_of(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    record = await find_record(service, digits)
    if not await service.signal(record.id, name, decoded):
        raise QueueError(not_taken(record.id, name))
    await note(service, "signal record", str(record.id))
    echo(f"{record.id}  signal {name} stored")


async def _cancel(service: QueueService, record: QueuedTaskRecord) -> str:
    asked = await service.cancel(record.id)
    stored = await service.get(record.id)
    status = "gone" if stored is None else stored.status
    if not asked:
        raise QueueError(f"Record {record.id} has ended already: it is {status}.")
    return "asked to stop" if status == TaskStatus.RUNNING else status


async def _retry(service: QueueService, record: QueuedTaskRecord) -> str:
    return (await service.retry(record.id)).status


async def _delete(service: QueueService, record: QueuedTaskRecord) -> str:
    if await service.queue_backend.delete_many([record.id]):
        return "deleted"
    if record.has_ended:
        raise QueueError(f"Record {record.id} still holds the key {record.key!r}, until {record.key_until}.")
    raise QueueError(f"Record {record.id} is {record.status}; only ended records can be deleted. Cancel it first.")


def _row(record: QueuedTaskRecord, *, at: datetime) -> Sequence[Cell]:
    note = f"attempt {record.attempt}" if record.attempt > 1 else ""
    if record.cancel_requested:
        note = "asked to stop"
    elif record.status is TaskStatus.PENDING and (entry := passed_on(record)) and entry.failure:
        note = f"waits: {entry.failure.message}".partition("\n")[0]
    elif record.error is not None and record.status is not TaskStatus.COMPLETED:
        note = f"{record.error.type}: {record.error.message}".partition("\n")[0]
    elif record.progress is not None and not record.has_ended:
        note = progress_to_text(record.progress)
    age = to_duration((at - record.created_at).total_seconds())
    return (record.id, record.status, record.task_name, record.queue, age, note[:80])


def _facts(record: QueuedTaskRecord) -> Mapping[str, Cell]:
    return {
        "id": record.id,
        "task": record.task_name,
        "arguments": record.arguments,
        "status": record.status,
        "asked to stop": "yes" if record.cancel_requested else None,
        "queue": record.queue,
        "priority": record.priority,
        "runs on": " / ".join(name for name in (record.execution_backend, record.execution_profile) if name),
        "key": record.key,
        "created": record.created_at,
        "scheduled": record.scheduled_at,
        "expires": record.expires_at,
        "started": record.started_at,
        "finished": record.finished_at,
        "attempt": record.attempt,
        "retries": f"{record.retry_count} of {record.retries} spent",
        "lost": record.losses or None,
        "worker": record.worker_id,
        "execution": record.execution_ref,
        "log": record.log_url,
        "schedule": record.schedule,
        "metadata": ", ".join(f"{name}={value}" for name, value in record.metadata.items()),
        "waits for": awaited(record),
        "progress": progress_to_text(record.progress),
        "result": record.result,
        "error": f"{record.error.type}: {record.error.message}" if record.error else None,
        "traceback": record.error.traceback.rstrip() if record.error else None,
        "history": "\n".join(
            f"{to_text(entry.at)}  {entry.event} in attempt {entry.attempt}"
            + (f": {entry.failure.type}: {entry.failure.message}" if entry.failure else "")
            + (f": {entry.message}" if entry.message else "")
            for entry in record.history
        ),
    }
