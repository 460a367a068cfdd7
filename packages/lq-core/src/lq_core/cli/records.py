"""``lq records``: list, show, cancel and retry."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import click

from lq_core.cli.display import Cell, print_facts, print_json, print_table, record_to_json, to_duration, to_text
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.filters import filtered, none_matches
from lq_core.cli.many import IDS, YES, check_that_it_is_clear, do_to_all
from lq_core.cli.session import Session
from lq_core.errors import QueueError, RecordNotFoundError
from lq_core.queue import RecordFilter
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService
from lq_core.service.bulk import CANCELLABLE, RETRYABLE

ID = "01a208d6-f3cf-7975-a1ad-42770b79d626"

Act = Callable[[QueueService, UUID], Awaitable[str]]
"""Does something to one record, and says what became of it."""


def records_group(session: Session) -> click.Group:
    """Make the group ``records``."""
    group = click.Group("records", help="Look at records, cancel and retry them.")
    for command in (_list(session), _show(session), _cancel(session), _retry(session)):
        group.add_command(command)
    return group


def _list(session: Session) -> click.Command:
    @click.command(
        "list",
        cls=ExampleCommand,
        examples=("--status failed --queue mail", "--task shop.tasks.send --limit 100 --json"),
    )
    @filtered
    @click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
    @click.option("--before", metavar="ID", type=click.UUID, help="Go on after this record, the last one of a page.")
    @click.option("--json", "as_json", is_flag=True, help="Print whole records as a JSON list.")
    @session.looks
    async def command(
        service: QueueService,
        *,
        condition: RecordFilter,
        limit: int,
        before: UUID | None,
        as_json: bool,
    ) -> None:
        """List records, newest first."""
        page = await service.find(condition, limit=limit, before=before)
        if as_json:
            print_json([record_to_json(record) for record in page])
            return
        print_table(
            ("id", "status", "task", "queue", "age", "note"),
            [_row(record, at=service.queue_backend.now()) for record in page],
            empty="" if page else await none_matches(service, condition),
        )
        if len(page) == limit:
            click.echo(f"More may follow: --before {page[-1].id}", err=True)

    return command


def _show(session: Session) -> click.Command:
    @click.command("show", cls=ExampleCommand, examples=(ID, f"{ID} --json"))
    @click.argument("record_id", metavar="ID", type=click.UUID)
    @click.option("--json", "as_json", is_flag=True, help="Print the whole record as JSON.")
    @session.looks
    async def command(service: QueueService, *, record_id: UUID, as_json: bool) -> None:
        """Show everything about one record."""
        record = await service.get(record_id)
        if record is None:
            raise RecordNotFoundError(record_id)
        if as_json:
            print_json(record_to_json(record))
        else:
            print_facts(_facts(record))

    return command


def _cancel(session: Session) -> click.Command:
    @click.command("cancel", cls=ExampleCommand, examples=(ID, "--queue mail --status pending"))
    @IDS
    @filtered
    @YES
    def command(*, record_ids: Sequence[UUID], condition: RecordFilter, yes: bool) -> None:
        """
        Cancel records, by their ids or all that match: at once when they wait; a running task is asked to stop.

        What matches is counted first, and cancelled after a question, or with --yes.
        """
        check_that_it_is_clear(record_ids, condition)

        async def cancel(service: QueueService, record_id: UUID) -> str:
            asked = await service.cancel(record_id)
            record = await service.get(record_id)
            status = "gone" if record is None else record.status
            if not asked:
                raise QueueError(f"Record {record_id} has ended already: it is {status}.")
            return f"{record_id}  {'asked to stop' if status == TaskStatus.RUNNING else status}"

        async def look(service: QueueService) -> None:
            if record_ids:
                await _each(service, record_ids, cancel)
            else:
                many = service.cancel_many
                await do_to_all(service, condition, many, statuses=CANCELLABLE, verb="cancelled", yes=yes)

        session.look(look)

    return command


def _retry(session: Session) -> click.Command:
    @click.command("retry", cls=ExampleCommand, examples=(ID, "--status failed --task shop.tasks.send"))
    @IDS
    @filtered
    @YES
    def command(*, record_ids: Sequence[UUID], condition: RecordFilter, yes: bool) -> None:
        """
        Bring failed, cancelled or expired records back, due at once, with their whole retry budget.

        What is named by filters and not by ids is counted first, and brought back after a question, or with --yes.
        """
        check_that_it_is_clear(record_ids, condition)

        async def retry(service: QueueService, record_id: UUID) -> str:
            return f"{record_id}  {(await service.retry(record_id)).status}"

        async def look(service: QueueService) -> None:
            if record_ids:
                await _each(service, record_ids, retry)
            else:
                many = service.retry_many
                await do_to_all(service, condition, many, statuses=RETRYABLE, verb="brought back", yes=yes)

        session.look(look)

    return command


async def _each(service: QueueService, record_ids: Sequence[UUID], act: Act) -> None:
    """Do it to each record; one that refuses does not keep the others from it, but the command ends with 1."""
    refused = False
    for record_id in record_ids:
        try:
            click.echo(await act(service, record_id))
        except QueueError as error:
            refused = True
            click.echo(f"Error: {error}", err=True)
    if refused:
        raise click.exceptions.Exit(1)


def _row(record: QueuedTaskRecord, *, at: datetime) -> Sequence[Cell]:
    note = f"attempt {record.attempt}" if record.attempt > 1 else ""
    if record.cancel_requested:
        note = "asked to stop"
    elif record.error is not None and record.status is not TaskStatus.COMPLETED:
        note = f"{record.error.type}: {record.error.message}".partition("\n")[0]
    elif record.progress is not None and not record.has_ended:
        note = _progress(record)
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
        "progress": _progress(record) or None,
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


def _progress(record: QueuedTaskRecord) -> str:
    if record.progress is None:
        return ""
    done, total = record.progress.done, record.progress.total
    far = f"{done:g}" if total is None else f"{done:g} of {total:g}"
    return f"{far} {record.progress.message or ''}".strip()
