"""Runs an emulator, with the queue that its containers share, for the length of a test."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lq_cloudrun import CloudRunExecutionBackend, CloudRunExecutionConfig
from lq_cloudrun.emulator import EmulatedJob, Emulator, Limits
from lq_core import QueueConfig, QueuedTaskRecord, QueueService

SUPPORT: Final = Path(__file__).parents[1]
SECONDS_BETWEEN_LOOKS: Final = 0.02
CONTAINER: Final = (sys.executable, "-m", "lq_cloudrun")

# These pauses take minutes in a cloud, and no time here.
HASTY: Final[Mapping[str, Any]] = {
    "poll_interval": 0.05,
    "confirm_after": 0.0,
    "absence_margin": 0.0,
    "rpc_timeout": 2.0,
    "claim_check_after": 0.0,
    "claim_check_interval": 0.0,
    "breaker_pause": 0.05,
    "fallback_execution_backend": None,
}


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """The parts that a test uses."""

    emulator: Emulator
    service: QueueService
    config: CloudRunExecutionConfig

    async def backend(self) -> CloudRunExecutionBackend:
        """Return the open execution backend."""
        found = await self.service.execution_backend("cloudrun")
        assert isinstance(found, CloudRunExecutionBackend)
        return found

    async def record(self, like: QueuedTaskRecord) -> QueuedTaskRecord:
        """Return the stored record."""
        found = await self.service.get(like.id)
        assert found is not None
        return found

    async def until(self, like: QueuedTaskRecord, holds: Callable[[QueuedTaskRecord], bool]) -> QueuedTaskRecord:
        """Read a record until a condition holds. Containers change it, and they are other processes."""
        async with asyncio.timeout(60):
            while not holds(record := await self.record(like)):  # noqa: ASYNC110 -- another process has no event to wait for
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)  # another process has no event
        return record

    def outputs(self) -> str:
        """Return the output of all containers."""
        return "\n".join(self.emulator.output(name) for name in self.emulator.executions())


@asynccontextmanager
async def cloud(
    queue: QueueConfig,
    address: str,
    *,
    profiles: Sequence[str] = (),
    job: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    limits: Limits | None = None,
    **settings: Any,
) -> AsyncGenerator[Cloud]:
    """
    Emulate a project with the job ``shop``, and one job for each of *profiles*; open a service that dispatches to it.

    *job* and *env* change the jobs, *limits* the project, *settings* the execution configuration.
    """
    # Containers start with an empty environment; in this variable ./dev coverage has its settings.
    coverage = {name: os.environ[name] for name in ("COVERAGE_PROCESS_CONFIG",) if name in os.environ}
    variables = {
        **coverage,
        "PYTHONPATH": str(SUPPORT),
        "SHOP_QUEUE": address,
        "LITESTAR_QUEUES_CONFIG_FACTORY": "container_tasks:queue_config",
        "LITESTAR_QUEUES_TASK_MODULES": "container_tasks",
        **(env or {}),
    }
    details: dict[str, Any] = {"command": CONTAINER, "env": variables, "max_retries": 0, **(job or {})}
    jobs = [EmulatedJob(name=name, **details) for name in ("shop", *profiles)]
    async with Emulator(jobs, limits=limits or Limits()) as emulator:
        known = {name: name for name in profiles}
        patience: dict[str, Any] = {
            "job_name": "shop",
            "profiles": known,
            "endpoint": emulator.address,
            **HASTY,
            **settings,
        }
        config = CloudRunExecutionConfig("emulated", **patience)
        async with QueueService(replace(queue, execution_backends=(config,), execution_backend=config)) as service:
            yield Cloud(emulator=emulator, service=service, config=config)


def events_of(record: QueuedTaskRecord) -> list[str]:
    """Return the names of the events of a record."""
    return [entry.event for entry in record.history]
