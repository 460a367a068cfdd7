"""
The cost of Cloud Run execution without Google, measured with the emulator: ``./dev bench cloudrun``.

Where only calls are counted, no process of a job starts, because its cost would be measured too.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final
from uuid import UUID

from figures import Figure, show

import container_tasks as shop
from cloud import Cloud, cloud, sqlite_address
from cloud.emulated import CONTAINER
from lq_cloudrun.emulator import NO_LIMITS, connected
from lq_core import QueueConfig, RecordFilter, Worker
from lq_core.queue.sqlite import SQLiteConfig

RECORDS: Final = 1_000
ROUNDS: Final = 7
PAGE: Final = 100
KEPT: Final = 10_000
CLAIM_GOAL: Final = 150
ID: Final = UUID(int=7)
NOW: Final = datetime.now(UTC)
PATIENT: Final[dict[str, Any]] = {
    "max_in_flight": 10 * RECORDS,
    "runs_per_minute": 1e7,
    "rpc_timeout": 30.0,
    "poll_interval": 60.0,
    "confirm_after": 600.0,
}


def measure() -> list[Figure]:
    """Measure dispatch, reconciliation, draining, and the start of a container."""
    calls = [*asyncio.run(_dispatch()), *asyncio.run(_reconcile()), *asyncio.run(_look_beside_kept())]
    return [*calls, asyncio.run(_drain()), *_imports(), asyncio.run(_claim())]


@asynccontextmanager
async def _open_project(**settings: Any) -> AsyncGenerator[Cloud]:
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        path = Path(room) / "lq.db"
        queue = QueueConfig(queue_backend=SQLiteConfig(path=path))
        # Starts that are held are never released: that would start a thousand processes.
        async with cloud(queue, sqlite_address(path), limits=NO_LIMITS, **{**PATIENT, **settings}) as project:
            yield project


async def _dispatch() -> list[Figure]:
    async with _open_project() as project:
        project.emulator.faults.hold_starts("shop")
        bare = await _bare(project)
        await project.service.enqueue_many(shop.add.call(number, second=1) for number in range(RECORDS))
        wanted = project.emulator.calls("RunJob") + RECORDS
        began = perf_counter()
        async with Worker(project.service):
            await project.emulator.wait_until(lambda: project.emulator.calls("RunJob") == wanted, within=120)
            took = perf_counter() - began
        return [
            Figure("Cloud Run, run_job by the bare client", RECORDS / bare, "/s"),
            Figure("Cloud Run, records dispatched", RECORDS / took, "/s"),
            Figure("Cloud Run, dispatcher's own time for each record", (took - bare) / RECORDS * 1000, "ms"),
        ]


async def _bare(project: Cloud, *, calls: int = RECORDS) -> float:
    async with connected(project.emulator.address) as clients:
        name = project.emulator.job_name("shop")
        await clients.jobs.run_job(name=name, timeout=30)
        began = perf_counter()
        for _ in range(calls // 50):
            await asyncio.gather(*(clients.jobs.run_job(name=name, timeout=30) for _ in range(50)))
        return perf_counter() - began


async def _reconcile() -> list[Figure]:
    async with _open_project() as project:
        project.emulator.faults.hold_starts("shop")
        await project.service.enqueue_many(shop.add.call(number, second=1) for number in range(RECORDS))
        async with Worker(project.service):
            await project.emulator.wait_until(lambda: project.emulator.calls("RunJob") == RECORDS, within=120)
        backend = await project.backend()
        began, after = perf_counter(), UUID(int=0)
        while page := await project.service.queue_backend.find(RecordFilter(), limit=PAGE, after=after):
            await backend.reconcile_many(project.service, page)
            after = page[-1].id
        took = perf_counter() - began
        calls = project.emulator.calls("ListExecutions") + project.emulator.calls("GetExecution")
        return [
            Figure(f"Cloud Run, {RECORDS:,} in flight compared", took * 1000, "ms"),
            Figure(f"Cloud Run, {RECORDS:,} in flight compared, calls of the API", calls, "times"),
        ]


async def _look_beside_kept() -> list[Figure]:
    """Compare 100 records whose executions are older than 10,000 others, which have ended and are kept."""
    async with _open_project() as project:
        project.emulator.faults.hold_starts("shop")
        await project.service.enqueue_many(shop.add.call(number, second=1) for number in range(PAGE))
        async with Worker(project.service):
            await project.emulator.wait_until(lambda: project.emulator.calls("RunJob") == PAGE, within=120)
        project.emulator.faults.hold_starts("shop").release()  # Those after these hundred are not held.
        project.emulator.faults.fail_image("shop", times=KEPT + 1)
        _ = await _bare(project, calls=KEPT)
        await project.emulator.wait_until_over(project.emulator.executions()[-1], within=60)
        backend = await project.backend()
        page = await project.service.queue_backend.find(RecordFilter(), limit=PAGE)
        listed, began = project.emulator.calls("ListExecutions"), perf_counter()
        await backend.reconcile_many(project.service, page)
        took = perf_counter() - began
        calls = project.emulator.calls("ListExecutions") - listed
        return [
            Figure(f"Cloud Run, {PAGE} in flight compared beside {KEPT:,} kept executions", took * 1000, "ms"),
            Figure("Cloud Run, the same, calls of the API", calls, "times"),
        ]


async def _drain() -> Figure:
    """Measure the rate of one container that drains, from the first start of a task to the last result."""
    settings: dict[str, Any] = {"dispatch": "pull", "pull_concurrency": 50, "max_in_flight": 1}
    async with _open_project(**{**PATIENT, **settings}) as project:
        sent = await project.service.enqueue_many(shop.describe.call(ID, NOW) for _ in range(5 * RECORDS))
        async with Worker(project.service):
            [name] = await _started(project)
            await project.emulator.wait_until_over(name, within=120)
        ended = await project.service.queue_backend.get_many([each.id for each in sent])
    starts = [each.started_at for each in ended if each.started_at]
    ends = [each.finished_at for each in ended if each.finished_at]
    assert len(ends) == len(sent)
    took = (max(ends) - min(starts)).total_seconds()
    return Figure("Cloud Run, records drained by one container", len(sent) / took, "/s")


async def _started(project: Cloud) -> list[str]:
    await project.emulator.wait_until(lambda: len(project.emulator.executions()) == 1)
    return project.emulator.executions()


def _imports() -> list[Figure]:
    figures: list[Figure] = []
    for what, module in (("the entrypoint", "lq_cloudrun.entrypoint"), ("Google's client", "google.cloud.run_v2")):
        program = (
            "import resource, time; began = time.perf_counter(); "
            f"import {module}; print((time.perf_counter() - began) * 1000, "
            "int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 1e6)"
        )
        runs = [
            [float(word) for word in subprocess.check_output([sys.executable, "-c", program], text=True).split()]
            for _ in range(ROUNDS)
        ]
        milliseconds, megabytes = (min(column) for column in zip(*runs, strict=True))
        figures += [Figure(f"import {what}", milliseconds, "ms"), Figure(f"memory, {what}", megabytes, "MB")]
    return figures


async def _claim() -> Figure:
    """Measure the shortest time from the start of the process of a container to its claim."""
    best = float("inf")
    async with _open_project() as project:
        backend = await project.backend()
        project.emulator.faults.hold_starts("shop")
        for number in range(ROUNDS):
            sent = await project.service.enqueue(shop.add, number, second=1)
            record = await backend.execute(project.service, sent.record)
            env = {each.name: each.value for each in _variables(project, str(record.execution_ref))}
            began = datetime.now(UTC)
            await asyncio.to_thread(subprocess.run, CONTAINER, env=env, check=True, capture_output=True)
            ended = await project.record(record)
            assert ended.started_at is not None
            best = min(best, (ended.started_at - began).total_seconds() * 1000)
    return Figure("Cloud Run, from the start of a process to its claim", best, "ms", CLAIM_GOAL)


def _variables(project: Cloud, name: str) -> Any:
    return project.emulator.execution(name).template.containers[0].env


if __name__ == "__main__":
    show(measure())
