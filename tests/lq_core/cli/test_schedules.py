"""``lq schedules`` as a program."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from lq_core.contracts import opened
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule_state import ScheduleState
from programs import Answer, run, running, until

LQ = (sys.executable, "-m", "lq_core")

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MARTIAN = Plan(every=60, timezone="Mars/Olympus")

SCHEDULES = """
from lq_core import schedule
from shop import queue, send

schedule(send.call(1), name="nightly", cron="30 2 * * *", timezone="Asia/Kolkata")
schedule(send.call(2), name="yearly", cron="0 0 1 1 *")
"""


@pytest.fixture
async def declared(folder: Path) -> Path:
    """The folder of an application whose schedules a worker has declared."""
    (folder / "plans.py").write_text(SCHEDULES)
    async with running(*LQ, "worker", "plans:queue", "-m", "plans", folder=folder) as worker:
        assert "nightly, yearly" in await worker.line_with("schedules")
        await until(lambda: are_known(folder), what="the worker has declared its schedules")
    return folder


async def are_known(folder: Path) -> bool:
    return "yearly" in (await lq(folder, "schedules", "list")).out


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


async def test_a_schedule_is_listed_paused_resumed_and_run(declared: Path) -> None:
    listed = await lq(declared, "schedules", "list")
    paused = await lq(declared, "schedules", "pause", "nightly")
    states = msgspec.json.decode((await lq(declared, "schedules", "list", "--json")).out)
    resumed = await lq(declared, "schedules", "resume", "nightly")
    ran = await lq(declared, "schedules", "run", "plans:queue", "nightly", "-m", "plans")
    records = await lq(declared, "records", "list", "--schedule", "nightly")
    others = await lq(declared, "records", "list", "--schedule", "yearly")

    nightly, yearly = listed.out.splitlines()[1:]
    assert nightly.startswith("nightly   active  shop.send  At 02:30 every day")
    assert "-01-01 00:00:00" in yearly
    assert paused.out == "nightly is paused.\n"
    assert [(state["name"], state["paused"], state["next_due"] is None) for state in states] == [
        *(("nightly", True, True), ("yearly", False, False))
    ]
    assert resumed.out == "nightly is active.\n"
    assert (ran.code, ran.out.split()[1]) == (0, "pending")
    assert ran.out.split()[0] in records.out
    assert (others.out, others.err) == ("", "No record matches.\n")


async def test_the_next_times_are_shown_in_both_time_zones(declared: Path) -> None:
    answer = await lq(declared, "schedules", "next", "nightly", "-n", "2")
    as_json = await lq(declared, "schedules", "next", "nightly", "-n", "2", "--json")

    head, first, _ = answer.out.splitlines()
    assert head.split() == ["Asia/Kolkata", "UTC"]
    assert first.split()[2:4] == ["02:30:00", "IST"]
    assert first.split()[-1] == "21:00:00"
    assert [f"{due:%H:%M:%S}" for due in msgspec.json.decode(as_json.out, type=list[datetime])] == ["21:00:00"] * 2


async def test_an_unknown_time_zone_is_reported_in_its_row(folder: Path) -> None:
    async with opened(SQLiteQueueBackend(settings=SQLiteConfig(path=folder / "lq.db"))) as queue:
        state = ScheduleState(name="martian", task_name="shop.send", plan=MARTIAN, handled_until=NOON, seen_at=NOON)
        await queue.save_schedule(state)
        await queue.save_schedule(replace(state, name="nightly", plan=Plan(cron="30 2 * * *")))

    listed = await lq(folder, "schedules", "list")
    states = msgspec.json.decode((await lq(folder, "schedules", "list", "--json")).out)

    martian, nightly = listed.out.splitlines()[1:]
    assert "Mars/Olympus" in martian
    assert nightly.split()[:2] == ["nightly", "active"]
    assert ["Mars/Olympus" in (state["problem"] or "") for state in states] == [True, False]


async def test_an_undeclared_schedule_is_unknown(declared: Path) -> None:
    answers = [await lq(declared, "schedules", command, "nihgtly") for command in ("next", "pause", "resume")]
    unknown = await lq(declared, "schedules", "run", "nightly")

    assert {answer.code for answer in (*answers, unknown)} == {1}
    assert {answer.err for answer in answers} == {
        "Error: There is no schedule 'nihgtly'. Did you mean 'nightly'?\n",
    }
    assert "to run it, import the module that declares it as well" in unknown.err
