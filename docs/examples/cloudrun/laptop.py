"""
Runs a record on one machine, from a worker through an execution of an emulated Cloud Run job to its result.

Run this program in its folder: ``python laptop.py``. You need no account and no container engine.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from paperwork.queue import config
from paperwork.tasks import make_report

from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.emulator import EmulatedJob, Emulator
from lq_core import QueueService, Worker

HERE = Path(__file__).parent


async def main() -> None:
    """Enqueue one call, and wait for its result."""
    job = EmulatedJob(
        name="reports",
        # The ENTRYPOINT of the image. The container gets only the environment that is listed here.
        command=[sys.executable, "-m", "lq_cloudrun"],
        env={
            "PYTHONPATH": str(HERE),
            "LQ_CONFIG": "paperwork.queue:config",
            "LITESTAR_QUEUES_TASK_MODULES": "paperwork.tasks",
        },
        max_retries=0,
    )
    async with Emulator([job]) as emulator:
        cloud = CloudRunExecutionConfig(
            project_id="emulated",
            job_name="reports",
            endpoint=emulator.address,
            fallback_execution_backend=None,
        )
        async with QueueService(replace(config, execution_backend=cloud)) as queue, Worker(queue):
            report = await queue.enqueue(make_report, "2026-11", pages=3)
            print(await report.wait(timeout=30))
            [execution] = emulator.executions()
            await emulator.wait_until_over(execution)
            print("The container wrote:", emulator.output(execution), sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
