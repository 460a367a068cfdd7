"""Tests the paperwork with a fixture that emulates Cloud Run, without an account or a container engine."""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from paperwork.queue import config
from paperwork.tasks import make_report

from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.emulator import EmulatedJob, Emulator, EmulatorThread
from lq_core import QueueService, Worker


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Emulate the job that makes reports, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    job = EmulatedJob(
        name="reports",
        command=[sys.executable, "-m", "lq_cloudrun"],
        env={
            "PYTHONPATH": str(Path(__file__).parent),
            "LQ_CONFIG": "paperwork.queue:config",
            "LITESTAR_QUEUES_TASK_MODULES": "paperwork.tasks",
        },
        max_retries=0,
    )
    with EmulatorThread(Emulator([job])) as thread:
        yield thread.emulator


async def report(emulator: Emulator) -> str:
    """Enqueue a call like the application does, and let a worker dispatch it."""
    cloud = CloudRunExecutionConfig(
        "emulated", job_name="reports", endpoint=emulator.address, fallback_execution_backend=None
    )
    async with QueueService(replace(config, execution_backend=cloud)) as queue, Worker(queue):
        sent = await queue.enqueue(make_report, "2026-11", pages=3)
        return await sent.wait(timeout=30)


def test_a_report_is_made_by_an_execution(emulator: Emulator) -> None:
    """Run the real container program with the real client."""
    assert asyncio.run(report(emulator)) == "2026-11: 3 pages"
    assert len(emulator.executions()) == 1


def test_a_reply_that_is_lost_costs_no_second_execution(emulator: Emulator) -> None:
    """Inject a fault that occurs in production, and check that it does no harm."""
    emulator.faults.lose_reply("RunJob")

    assert asyncio.run(report(emulator)) == "2026-11: 3 pages"
    assert len(emulator.executions()) == 1
