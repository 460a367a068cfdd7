"""
The fault matrix of docs/cloud-run.md: every fault, in every durable queue backend, through Google's own client.

The page says how many executions a fault costs. Each of its rows has a function of the same name here, which plants
the fault. Every record ends once, with the result of its task.
"""

import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest
from grpc import StatusCode

import container_tasks as shop
from cloud import Cloud, cloud, sqlite_address
from lq_core import Worker
from lq_core.records.record import TaskStatus
from servers import PostgresServer

PAGE: Final = Path(__file__).parents[2] / "docs/cloud-run.md"
ROW: Final = re.compile(r"^\| (?P<fault>[^|]+) \| (?P<executions>\d) \| [^|]+ \|$", flags=re.MULTILINE)
TABLE: Final = PAGE.read_text().partition("## Fault matrix")[2].partition("\n## ")[0]
ROWS: Final = [(row["fault"], int(row["executions"])) for row in ROW.finditer(TABLE)]
NUMBERS: Final = count(1)
STARTS: Final = f"exec {sys.executable} -m lq_cloudrun"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: the settings that it needs, and what it does before the call is enqueued and after it."""

    before: Callable[[Cloud], object] = lambda _: None
    after: Callable[[Cloud, Any], Awaitable[None]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    job: Callable[[Path], Mapping[str, Any]] = lambda _: {}
    heartbeat: str = "5"
    task: str = "add"


def refuse(method: Any, code: StatusCode, *, times: int = 1) -> Fault:
    return Fault(before=lambda sky: sky.emulator.faults.refuse(method, code, times=times))


def dies(folder: Path, *, how: str) -> Mapping[str, Any]:
    """Make a job whose first container ends before it claims."""
    marker = folder / "died"
    return {"command": ["sh", "-c", f"test -e {marker} && {STARTS}; touch {marker}; {how}"]}


async def cancel_in_the_console(sky: Cloud, _: Any) -> None:
    backend = await sky.backend()
    await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
    [name] = sky.emulator.executions()
    await sky.emulator.wait_for_output(name, "process ")
    assert backend.executions_client is not None
    await backend.executions_client.cancel_execution(name=name, timeout=5)


async def vanish(sky: Cloud, _: Any) -> None:
    await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
    sky.emulator.faults.vanish(sky.emulator.executions()[0])


def hold_the_list(sky: Cloud) -> None:
    sky.emulator.faults.lose_reply("RunJob")
    sky.emulator.faults.freeze_list()


FAULTS: Final[Mapping[str, Fault]] = {
    "none": Fault(),
    "the reply of RunJob is lost": Fault(before=lambda sky: sky.emulator.faults.lose_reply("RunJob")),
    "RunJob does not reply": Fault(
        before=lambda sky: sky.emulator.faults.never_reply("RunJob"), settings={"rpc_timeout": 2.0}
    ),
    "RunJob is unavailable": refuse("RunJob", StatusCode.UNAVAILABLE),
    "RunJob is over its quota": refuse("RunJob", StatusCode.RESOURCE_EXHAUSTED, times=2),
    "RunJob is forbidden for a moment": refuse("RunJob", StatusCode.PERMISSION_DENIED),
    "the job is unknown for a moment": refuse("RunJob", StatusCode.NOT_FOUND),
    "executions cannot be listed": refuse("ListExecutions", StatusCode.UNAVAILABLE, times=1000),
    "executions may not be viewed": Fault(
        before=lambda sky: sky.emulator.faults.forbid("run.executions.list", "run.executions.get", "run.tasks.get")
    ),
    "the list does not show the execution yet": Fault(before=hold_the_list, settings={"absence_margin": 60.0}),
    "Cloud Run forgets the execution": Fault(after=vanish),
    "the image is missing": Fault(before=lambda sky: sky.emulator.faults.fail_image("shop")),
    "the container ends before its claim": Fault(job=lambda folder: dies(folder, how="exit 1")),
    "the container is killed before its claim": Fault(job=lambda folder: dies(folder, how="kill -9 $$")),
    "the container is killed in the task": Fault(task="die_at_first", heartbeat="0.5"),
    "the container is killed after the result": Fault(
        job=lambda _: {"command": ["sh", "-c", f"{sys.executable} -m lq_cloudrun; kill -9 $$"]}
    ),
    "Cloud Run restarts the container": Fault(
        task="die_at_first", job=lambda _: {"max_retries": 3}, settings={"poll_interval": 60.0}
    ),
    "Cloud Run runs the container twice": Fault(before=lambda sky: sky.emulator.faults.retry_spuriously("shop")),
    "the execution is cancelled in the console": Fault(task="wait_for", after=cancel_in_the_console),
}


def test_the_page_has_a_row_for_each_fault() -> None:
    assert [fault for fault, _ in ROWS] == list(FAULTS)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "sqlite":
        where = sqlite_address(tmp_path / "shop.db")
        monkeypatch.setenv("SHOP_QUEUE", where)
        yield where
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"faults_{os.getpid()}_{next(NUMBERS)}"
    where = server.create_database(name)
    monkeypatch.setenv("SHOP_QUEUE", where)
    yield where
    server.drop_database(name)


@pytest.mark.parametrize("name, executions", ROWS, ids=[name for name, _ in ROWS])
async def test_a_fault_costs_as_many_executions_as_the_page_says_and_every_record_ends_once(
    name: str, executions: int, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    monkeypatch.setenv("SHOP_HEARTBEAT", fault.heartbeat)
    env = {"SHOP_HEARTBEAT": fault.heartbeat}
    async with (
        cloud(shop.queue_config(), address, job=fault.job(tmp_path), env=env, **fault.settings) as sky,
        Worker(sky.service),
    ):
        fault.before(sky)
        sent = await enqueue(sky, fault.task, tmp_path)
        if fault.after is not None:
            await fault.after(sky, sent)
            (tmp_path / "marker").touch()
        await sent.wait(timeout=60)

        kept = await sky.record(sent.record)
        assert (kept.status, kept.retry_count) == (TaskStatus.COMPLETED, 0)
        assert len(sky.emulator.executions()) == executions


async def enqueue(sky: Cloud, task: str, folder: Path) -> Any:
    if task == "add":
        return await sky.service.enqueue(shop.add.using(backoff=shop.AT_ONCE), 1, second=2)
    chosen = {"die_at_first": shop.die_at_first, "wait_for": shop.wait_for}[task]
    return await sky.service.enqueue(chosen.using(backoff=shop.AT_ONCE), str(folder / "marker"))
