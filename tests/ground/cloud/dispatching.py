"""A worker in a process of its own, for tests that kill it: ``python -m cloud.dispatching ENDPOINT SETTINGS``."""

import asyncio
import json
import sys
from dataclasses import replace

from lq_cloudrun import CloudRunExecutionConfig
from lq_core import QueueService, Worker
from warehouse import queue_config, say


async def main(endpoint: str, settings: str) -> None:
    config = CloudRunExecutionConfig("emulated", job_name="shop", endpoint=endpoint, **json.loads(settings))
    async with QueueService(replace(queue_config(), execution_backend=config)) as service:
        say("working")
        await Worker(service).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
