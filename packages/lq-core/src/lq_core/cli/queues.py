"""``lq queues``: list, pause, resume, drain and limit."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import click

from lq_core.cli.display import print_json, print_table
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session
from lq_core.queue import QueueState, Statistics
from lq_core.record import Limits, RateLimit, TaskStatus
from lq_core.service import QueueService
from lq_core.task import known_tasks

NAMES = click.argument("names", metavar="QUEUE...", nargs=-1, required=True)


def queues_group(session: Session) -> click.Group:
    """Make the group ``queues``."""
    group = click.Group("queues", help="List queues; pause, resume, drain and limit them.")
    for command in (_list(session), _pause(session), _resume(session), _drain(session), _limit(session)):
        group.add_command(command)
    return group


def _list(session: Session) -> click.Command:
    @click.command("list", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON object, by queue.")
    @session.looks
    async def command(service: QueueService, *, as_json: bool) -> None:
        """List the queues that hold records, are closed, or have limits."""
        queues = _queues(await service.statistics(), await service.queues())
        if as_json:
            print_json({name: queue.as_json() for name, queue in queues.items()})
            return
        print_table(
            ("queue", "state", "pending", "running", "limits"),
            [
                (name, _state(queue.state), queue.pending, queue.running, _words(queue.state.limits) or "-")
                for name, queue in queues.items()
            ],
            empty="There is no queue yet: a queue is there as soon as a record is.",
        )

    return command


def _pause(session: Session) -> click.Command:
    @click.command("pause", cls=ExampleCommand, examples=("mail", "mail reports"))
    @NAMES
    @session.looks
    async def command(service: QueueService, *, names: Sequence[str]) -> None:
        """Let no worker start records of these queues until they are resumed; what runs goes on."""
        for name in names:
            _ = await service.pause(name)
            click.echo(f"{name} is paused.")
            await _warn_of_typo(service, name)

    return command


def _resume(session: Session) -> click.Command:
    @click.command("resume")
    @NAMES
    @session.looks
    async def command(service: QueueService, *, names: Sequence[str]) -> None:
        """Let workers start records of these queues again."""
        for name in names:
            await service.resume(name)
            click.echo(f"{name} is open.")

    return command


def _drain(session: Session) -> click.Command:
    @click.command("drain", cls=ExampleCommand, examples=("mail", "mail --timeout 60"))
    @click.argument("name", metavar="QUEUE")
    @click.option("--timeout", type=float, metavar="SECONDS", help="How long to wait; without it, until all has ended.")
    @session.looks
    async def command(service: QueueService, *, name: str, timeout: float | None) -> None:
        """Let workers run what is in a queue, and nothing that comes later, until it is resumed."""
        if timeout is None:
            click.echo(f"Waiting for {name}; Ctrl-C ends the waiting, and {name} goes on draining.", err=True)
        left = await service.drain(name, timeout=timeout)
        if left:
            raise click.ClickException(f"Left in {name}, which goes on draining: {left}.")
        click.echo(f"{name} is drained, and paused.")
        await _warn_of_typo(service, name)

    return command


def _limit(session: Session) -> click.Command:
    @click.command("limit", cls=ExampleCommand, examples=("mail --concurrency 5", "mail --rate 10 --per 60", "mail"))
    @click.argument("name", metavar="QUEUE")
    @click.option("--concurrency", type=int, metavar="N", help="How many run at once, over all workers.")
    @click.option("--rate", type=int, metavar="N", help="How many are started in the span that --per says.")
    @click.option("--per", type=float, default=1.0, show_default=True, metavar="SECONDS", help="The span of the rate.")
    @click.option("--burst", type=int, metavar="N", help="How many start at once after a pause; as --rate if not said.")
    @session.looks
    async def command(
        service: QueueService, *, name: str, concurrency: int | None, rate: int | None, per: float, burst: int | None
    ) -> None:
        """Limit a queue for all workers; what is left out has no limit from now on."""
        limit = None if rate is None else RateLimit(rate, per, burst)
        await service.limit_queue(name, concurrency=concurrency, rate=limit)
        words = _words(Limits(concurrency=concurrency, rate=limit))
        click.echo(f"{name} is limited: {words}." if words else f"{name} has no limits.")
        await _warn_of_typo(service, name)

    return command


async def _warn_of_typo(service: QueueService, name: str) -> None:
    named = {task.options.queue for task in known_tasks().values()}
    if name not in named and name not in (await service.statistics()).counts:
        click.echo(f"Warning: no record has been in {name} so far. Is that its name?", err=True)


class _Queue(NamedTuple):
    """What is known of one queue."""

    state: QueueState
    pending: int
    running: int

    def as_json(self) -> Mapping[str, object]:
        """As --json prints it."""
        return {"paused": self.state.paused, "pending": self.pending, "running": self.running} | {
            "draining": self.state.draining,
            "limits": self.state.limits,
        }


def _queues(statistics: Statistics, states: Mapping[str, QueueState]) -> Mapping[str, _Queue]:
    return {
        name: _Queue(
            state=states.get(name, QueueState()),
            pending=statistics.counts.get(name, {}).get(TaskStatus.PENDING, 0),
            running=statistics.counts.get(name, {}).get(TaskStatus.RUNNING, 0),
        )
        for name in sorted({*statistics.counts, *states})
    }


def _state(state: QueueState) -> str:
    if state.paused:
        return "paused"
    return "open" if state.draining is None else "draining"


def _words(limits: Limits | None) -> str:
    if limits is None:
        return ""
    at_once = "" if limits.concurrency is None else f"{limits.concurrency} at once"
    rate = "" if limits.rate is None else f"{limits.rate.count} per {limits.rate.per:g} s"
    return ", ".join(filter(None, (at_once, rate)))
