"""``lq schedules``: lists schedules and their next times, pauses, resumes and runs them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click
from msgspec.structs import asdict

from lq_core.cli.actor import note
from lq_core.cli.display import print_json, print_table
from lq_core.cli.options import Group, json_option, modules_option
from lq_core.cli.output import echo
from lq_core.cli.session import with_service, with_service_and_tasks
from lq_core.foundation.errors import ConfigurationError
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.service import QueueService
from lq_core.service.schedules import existing

NAME: Final = click.argument("name", metavar="SCHEDULE")
NAMES: Final = click.argument("names", metavar="SCHEDULE...", nargs=-1, required=True)

schedules: Final = Group("schedules", help="List, pause, resume and run schedules.")


@schedules.command("list", examples=("", "--json"))
@json_option("a JSON list")
@with_service
async def list_schedules(service: QueueService, *, as_json: bool) -> None:
    """
    List the schedules that workers have declared.

    A retired schedule is no longer in the code.
    """
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
        empty="There is no schedule. A schedule exists as soon as a worker has declared it.",
    )


@schedules.command("next", examples=("nightly", "nightly --count 20"))
@NAME
@click.option("-n", "--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="How many times.")
@json_option("a JSON list")
@with_service
async def next_times(service: QueueService, *, name: str, count: int, as_json: bool) -> None:
    """
    Show when a schedule is due next.

    The times are in its time zone and in UTC.
    """
    times = await service.next_times(name, count)
    if as_json:
        print_json(times)
        return
    state = await existing(service.queue_backend, name)
    print_table(
        (state.plan.timezone, "UTC"),
        [(f"{state.plan.on_its_clock(due):%a %Y-%m-%d %H:%M:%S %Z}", due) for due in times],
        empty=f"{name} is never due again.",
    )
    if _state(state) != "on":
        echo(f"{name} is {_state(state)}: it does not fire.", err=True)


@schedules.command("pause", examples=("nightly", "nightly hourly"))
@NAMES
@with_service
async def pause(service: QueueService, *, names: Sequence[str]) -> None:
    """
    Stop these schedules from firing.

    They are paused until you resume them. Records that they have enqueued continue.
    """
    for name in names:
        await service.pause_schedule(name)
        await note(service, "pause schedule", name)
        echo(f"{name} is paused.")


@schedules.command("resume", examples=("nightly", "nightly hourly"))
@NAMES
@with_service
async def resume(service: QueueService, *, names: Sequence[str]) -> None:
    """
    Let these schedules fire again.

    Times during the pause are not made up for.
    """
    for name in names:
        await service.resume_schedule(name)
        await note(service, "resume schedule", name)
        echo(f"{name} is active.")


@schedules.command("run", examples=("nightly",))
@NAME
@modules_option
@with_service_and_tasks
async def run(service: QueueService, *, name: str) -> None:
    """
    Enqueue the call of a schedule now.

    Its plan does not change.
    """
    record = await service.run_schedule(name)
    await note(service, "run schedule", name)
    echo(f"{record.id}  {record.status}")


def _state(state: ScheduleState) -> str:
    return "retired" if state.retired else "paused" if state.paused else "active"


def _due(state: ScheduleState, *, at: datetime) -> tuple[datetime | None, str | None]:
    """Return when a schedule is due next, or why this machine cannot know, for example an unknown time zone."""
    try:
        return state.next_due(after=at), None
    except ConfigurationError as error:
        return None, str(error)
