"""``lq queues``: list, pause and resume."""

from collections.abc import Mapping, Sequence

import click

from lq_core.cli.display import print_json, print_table
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session
from lq_core.queue import QueueState, Statistics
from lq_core.record import TaskStatus
from lq_core.service import QueueService

NAMES = click.argument("names", metavar="QUEUE...", nargs=-1, required=True)


def queues_group(session: Session) -> click.Group:
    """Make the group ``queues``."""
    group = click.Group("queues", help="List queues, pause and resume them.")
    for command in (_list(session), _pause(session), _resume(session)):
        group.add_command(command)
    return group


def _list(session: Session) -> click.Command:
    @click.command("list")
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON object, by queue.")
    def command(*, as_json: bool) -> None:
        """List the queues that hold records or are paused."""

        async def look(service: QueueService) -> None:
            queues = _queues(await service.statistics(), await service.queues())
            if as_json:
                print_json(queues)
                return
            print_table(
                ("queue", "state", "pending", "running"),
                [
                    (name, "paused" if queue["paused"] else "open", int(queue["pending"]), int(queue["running"]))
                    for name, queue in queues.items()
                ],
                empty="There is no queue yet: a queue is there as soon as a record is.",
            )

        session.look(look)

    return command


def _pause(session: Session) -> click.Command:
    @click.command("pause", cls=ExampleCommand, examples=("mail", "mail reports"))
    @NAMES
    def command(*, names: Sequence[str]) -> None:
        """Let no worker start records of these queues until they are resumed; what runs goes on."""

        async def look(service: QueueService) -> None:
            for name in names:
                is_known = await service.pause(name)
                click.echo(f"{name} is paused.")
                if not is_known:
                    click.echo(f"Warning: no record has been in {name} so far. Is that its name?", err=True)

        session.look(look)

    return command


def _resume(session: Session) -> click.Command:
    @click.command("resume")
    @NAMES
    def command(*, names: Sequence[str]) -> None:
        """Let workers start records of these queues again."""

        async def look(service: QueueService) -> None:
            for name in names:
                await service.resume(name)
                click.echo(f"{name} is open.")

        session.look(look)

    return command


def _queues(statistics: Statistics, states: Mapping[str, QueueState]) -> Mapping[str, Mapping[str, int | bool]]:
    return {
        name: {
            "paused": name in states and states[name].paused,
            "pending": statistics.counts.get(name, {}).get(TaskStatus.PENDING, 0),
            "running": statistics.counts.get(name, {}).get(TaskStatus.RUNNING, 0),
        }
        for name in sorted({*statistics.counts, *states})
    }
