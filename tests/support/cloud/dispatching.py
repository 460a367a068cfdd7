"""
A worker in its own process, for tests that kill it: ``python -m cloud.dispatching ENDPOINT SETTINGS [stuck]``.

A stuck worker reserves a record, and does nothing more.
"""

import asyncio
import json
import sys
from dataclasses import replace

from typing_extensions import override

from container_tasks import queue_config, say
from lq_cloudrun import CloudRunExecutionConfig
from lq_core import QueuedTaskRecord, QueueService, Worker


class StuckService(QueueService):
    """Never stores the name of a job."""

    @override
    async def swap(self, old: QueuedTaskRecord, new: QueuedTaskRecord) -> bool:
        say("stuck")
        return await asyncio.Future()


async def main(endpoint: str, settings: str, how: str = "") -> None:
    config = CloudRunExecutionConfig("emulated", job_name="shop", endpoint=endpoint, **json.loads(settings))
    kind = StuckService if how == "stuck" else QueueService
    async with kind(replace(queue_config(), execution_backend=config)) as service:
        say("working")
        await Worker(service).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
