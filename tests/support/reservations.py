"""Records that are reserved for a container, and the environment of this container."""

from dataclasses import replace

from msgspec.structs import replace as changed

import container_tasks as shop
from lq_cloudrun import CloudRunExecutionConfig
from lq_core import QueueConfig, QueueService, TaskCall
from lq_core.records import lifecycle

JOB = "projects/shop/locations/us-central1/jobs/shop"
CLOUD = {"CLOUD_RUN_JOB": "shop", "CLOUD_RUN_EXECUTION": "shop-abcde", "CLOUD_RUN_TASK_INDEX": "0"}


def configured(queue: QueueConfig) -> QueueConfig:
    return replace(queue, execution_backend=CloudRunExecutionConfig("shop", job_name="shop"))


async def reserved(
    service: QueueService, *, reference: str | None = JOB, call: TaskCall[int] | None = None
) -> dict[str, str]:
    """Enqueue a call, reserve its record, and return the environment of its container."""
    [sent] = await service.enqueue_many([call or shop.add.call(1, second=2)])
    record = lifecycle.dispatch(sent.record, at=service.queue_backend.now())
    record = changed(record, execution_ref=reference)
    assert await service.swap(sent.record, record)
    return {**CLOUD, "LITESTAR_QUEUES_TASK_ID": str(record.id), "LITESTAR_QUEUES_EPOCH": "1"}
