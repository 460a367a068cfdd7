"""The program that runs one record: ``python -m run_one_record FILE ID EPOCH MODULE...``."""

import asyncio
import sys
from contextlib import suppress
from uuid import UUID

from lq_core import OwnershipLostError, QueueConfig, QueueService
from lq_core.queue.sqlite import SQLiteConfig


async def main(file: str, record_id: str, epoch: str, *task_modules: str) -> None:
    """Claim the record by its id and epoch, and run it."""
    config = QueueConfig(queue_backend=SQLiteConfig(path=file), task_modules=task_modules)
    async with QueueService(config) as service:
        record = await service.get(UUID(record_id))
        if record is None or record.epoch != int(epoch):
            return  # It was cancelled, or dispatched again.
        with suppress(OwnershipLostError):
            await service.execute_record(record)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
