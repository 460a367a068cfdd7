"""``lq schedules``: list, tell the next times, pause, resume and run now."""

from collections.abc import Sequence
from datetime import datetime

import click
from msgspec.structs import asdict

from lq_core.cli.display import print_json, print_table
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session
from lq_core.errors import ConfigurationError
from lq_core.schedule_state import ScheduleState
from lq_core.service import QueueService

NAME = click.argument("name", metavar="SCHEDULE")
NAMES = click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)


def schedules_group(session: Session) -> click.Group:
    """Make the group ``schedules``."""
    group = click.Group("schedules", help="List schedules, pause, resume and run them.")
    for command in (_list(session), _next(session), _pause(session), _resume(session), _run(session)):
        group.add_command(command)
    return group


def _list(session: Session) -> click.Command:
    @click.command("list", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
    @session.looks
    async def command(service: QueueService, *, as_json: bool) -> None:
        """List the schedules that a worker has declared; retired is what no worker declares any more."""
        now = service.queue_backend.now()
        rows = [(state, *_due(state, at=now)) for state in await service.schedules()]
        if as_json:
            print_json([{**asdict(state), "next_due": due, "problem": problem} for state, due, problem in rows])
            return
        print_table(
            ("schedule", "state", "task", "plan", "time zone", "last (UTC)", "next (UTC)"),
            [
                (
                    *(state.name, problem or _state(state), state.task_name),
                    *(state.plan.in_words(), state.plan.timezone, state.last_due, due),
                )
                for state, due, problem in rows
            ],
            empty="There is no schedule: one is there as soon as a worker has declared it.",
        )

    return command


def _next(session: Session) -> click.Command:
    @click.command("next", cls=ExampleCommand, examples=("nightly", "nightly --count 20"))
    @NAME
    @click.option("-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many times.")
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
    @session.looks
    async def command(service: QueueService, name: str, *, count: int, as_json: bool) -> None:
        """Tell when a schedule is due next, on its own clock and in UTC."""
        times = await service.next_times(name, count)
        if as_json:
            print_json(times)
            return
        (state,) = [state for state in await service.schedules() if state.name == name]
        print_table(
            (state.plan.timezone, "UTC"),
            [(f"{state.plan.on_its_clock(due):%a %Y-%m-%d %H:%M:%S %Z}", due) for due in times],
            empty=f"{name} is never due again.",
        )
        if _state(state) != "on":
            click.echo(f"{name} is {_state(state)}: it does not fire.", err=True)

    return command


def _pause(session: Session) -> click.Command:
    @click.command("pause", cls=ExampleCommand, examples=("nightly", "nightly hourly"))
    @NAMES
    @session.looks
    async def command(service: QueueService, names: Sequence[str]) -> None:
        """Let these schedules fire no more until they are resumed; what they have enqueued goes on."""
        for name in names:
            await service.pause_schedule(name)
            click.echo(f"{name} is paused.")

    return command


def _resume(session: Session) -> click.Command:
    @click.command("resume")
    @NAMES
    @session.looks
    async def command(service: QueueService, names: Sequence[str]) -> None:
        """Let these schedules fire again; what fell into the pause is not made up for."""
        for name in names:
            await service.resume_schedule(name)
            click.echo(f"{name} is on.")

    return command


def _run(session: Session) -> click.Command:
    @click.command("run", cls=ExampleCommand, examples=("nightly",))
    @NAME
    @session.looks_with_tasks
    async def command(service: QueueService, name: str) -> None:
        """Enqueue the call of a schedule now, beside its plan; the modules that define tasks are imported for it."""
        record = await service.run_schedule(name)
        click.echo(f"{record.id}  {record.status}")

    return command


def _state(state: ScheduleState) -> str:
    return "retired" if state.retired else "paused" if state.paused else "on"


def _due(state: ScheduleState, *, at: datetime) -> tuple[datetime | None, str | None]:
    """Tell when a schedule is due next, or why that cannot be told here, as of a time zone that this machine lacks."""
    try:
        return state.next_due(after=at), None
    except ConfigurationError as error:
        return None, str(error)
