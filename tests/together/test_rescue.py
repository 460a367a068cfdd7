"""What a worker that died has left behind is run by another, and the log names it."""

import pytest

from lq_core import QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.testing import a_record, a_worker, claimed
from programs import until


@task(name="rescue.work")
async def work() -> None:
    """Do nothing."""


async def test_the_log_names_the_records_of_a_dead_worker(caplog: pytest.LogCaptureFixture) -> None:
    queue = InMemoryQueueBackend()
    await queue.register(a_worker("ghost"))
    left = await claimed(queue, a_record(task_name="rescue.work"), a_record(task_name="rescue.work"), worker_id="ghost")
    await queue.retire("ghost")

    async def all_completed() -> bool:
        found = await queue.get_many([record.id for record in left])
        return all(record.status is TaskStatus.COMPLETED for record in found)

    async with QueueService(QueueConfig(), queue_backend=queue) as service, Worker(service):
        await until(all_completed, what="both have run")

    [told] = [entry.getMessage() for entry in caplog.records if vars(entry).get("event") == "record.rescued"]
    assert told.startswith("record.rescued records=2 record_ids=")
    assert all(str(record.id) in told for record in left)
