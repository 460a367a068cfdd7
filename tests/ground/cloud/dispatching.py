"""
A worker in a process of its own, for tests that kill it: ``python -m cloud.dispatching ENDPOINT SETTINGS [stuck]``.

One that is stuck reserves, and comes no further.
"""

import asyncio
import json
import sys
from dataclasses import replace

from typing_extensions import override

from lq_cloudrun import CloudRunExecutionConfig
from lq_core import QueuedTaskRecord, QueueService, Worker
from warehouse import queue_config, say


class StuckService(QueueService):
    """Never gets to store the name of a job."""

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
