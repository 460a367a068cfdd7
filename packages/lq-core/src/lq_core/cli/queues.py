"""``lq queues``: lists, pauses, resumes, drains and limits queues."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import click
from msgspec.structs import asdict

from lq_core.cli.actor import note
from lq_core.cli.display import print_json, print_table
from lq_core.cli.options import Group, json_option
from lq_core.cli.output import Failure, echo
from lq_core.cli.session import with_service
from lq_core.foundation.duration import seconds
from lq_core.queue import QueueState, RecordFilter
from lq_core.records.record import Limits, RateLimit, TaskStatus
from lq_core.service import QueueService
from lq_core.tasks.known_tasks import known_tasks

NAME: Final = click.argument("name", metavar="QUEUE")
NAMES: Final = click.argument("names", metavar="QUEUE...", nargs=-1, required=True)

queues: Final = Group("queues", help="List, pause, resume, drain and limit queues.")


@queues.command("list", examples=("", "--json"))
@json_option("a JSON object with the queues")
@with_service
async def list_queues(service: QueueService, *, as_json: bool) -> None:
    """List the queues with their states, records and limits."""
    states = await service.queues()
    counts: dict[str, Mapping[TaskStatus, int]] = {name: {} for name in states}
    counts.update((await service.statistics()).counts)
    rows = [
        (name, states.get(name, QueueState()), count.get(TaskStatus.PENDING, 0), count.get(TaskStatus.RUNNING, 0))
        for name, count in sorted(counts.items())
    ]
    if as_json:
        print_json({name: {**asdict(state), "pending": due, "running": runs} for name, state, due, runs in rows})
        return
    print_table(
        ("queue", "state", "pending", "running", "limits"),
        [(name, _state(state), *numbers, _words(state.limits) or "-") for name, state, *numbers in rows],
        empty="There is no queue yet. A queue exists as soon as it has a record.",
    )


@queues.command("pause", examples=("mail", "mail reports"))
@NAMES
@with_service
async def pause(service: QueueService, *, names: Sequence[str]) -> None:
    """
    Stop workers from starting records of these queues.

    Running records continue. The queues are paused until you resume them.
    """
    for name in names:
        _ = await service.pause(name)
        await note(service, "pause queue", name)
        echo(f"{name} is paused.")
        await _warn(service, name)


@queues.command("resume", examples=("mail", "mail reports"))
@NAMES
@with_service
async def resume(service: QueueService, *, names: Sequence[str]) -> None:
    """Let workers start records of these queues again."""
    for name in names:
        await service.resume(name)
        await note(service, "resume queue", name)
        echo(f"{name} is open.")


@queues.command("drain", examples=("mail", "mail --timeout 60"))
@NAME
@click.option(
    "--timeout", type=float, metavar="SECONDS", help="How long to wait. Default: until every record has ended."
)
@with_service
async def drain(service: QueueService, *, name: str, timeout: float | None) -> None:
    """
    Let workers run only the records that are in a queue now.

    The command waits until they have ended. Then the queue is paused until you resume it.
    """
    if timeout is None:
        echo(f"Waiting for {name}. Ctrl-C stops only the waiting; {name} continues to drain.", err=True)
    await note(service, "drain queue", name)
    try:
        left = await service.drain(name, timeout=timeout)
    except asyncio.CancelledError:
        echo(f"{name} continues to drain.", err=True)
        raise
    if left:
        raise Failure(f"{left} left in {name}, which continues to drain.")
    echo(f"{name} is drained and paused.")
    await _warn(service, name)


@queues.command("limit", examples=("mail --concurrency 5", "mail --rate 10 --per 60", "mail"))
@NAME
@click.option("--concurrency", type=int, metavar="N", help="How many records run at once, over all workers.")
@click.option("--rate", type=int, metavar="N", help="How many records start in the period --per, over all workers.")
@click.option("--per", type=float, default=1.0, show_default=True, metavar="SECONDS", help="The period of --rate.")
@click.option(
    "--burst", type=int, metavar="N", help="How many records start at once after an idle time. Default: --rate."
)
@with_service
async def limit(
    service: QueueService, *, name: str, concurrency: int | None, rate: int | None, per: float, burst: int | None
) -> None:
    """
    Limit a queue for all workers.

    An option that you leave out removes its limit.
    """
    limits = Limits(concurrency=concurrency, rate=None if rate is None else RateLimit(rate, per, burst))
    await service.limit_queue(name, concurrency=concurrency, rate=limits.rate)
    await note(service, "limit queue", name)
    words = _words(limits)
    echo(f"{name} is limited: {words}." if words else f"{name} has no limits.")
    await _warn(service, name)


async def _warn(service: QueueService, name: str) -> None:
    config = service.config
    if (store := config.store_of(name)) != config.own_store:
        echo(
            f"Warning: new records of {name} go to the store {store}, but this is the store {config.own_store}.",
            err=True,
        )
    named = {task.options.queue for task in known_tasks().values()}
    if name not in named and not await service.find(RecordFilter(queues=(name,)), limit=1):
        echo(f"Warning: {name} has had no records so far. Is the name right?", err=True)


def _state(state: QueueState) -> str:
    if state.paused:
        return "paused"
    return "open" if state.draining is None else "draining"


def _words(limits: Limits | None) -> str:
    if limits is None:
        return ""
    at_once = "" if limits.concurrency is None else f"{limits.concurrency} at once"
    rate = "" if limits.rate is None else f"{limits.rate.count} per {seconds(limits.rate.per):g} s"
    return ", ".join(filter(None, (at_once, rate)))
