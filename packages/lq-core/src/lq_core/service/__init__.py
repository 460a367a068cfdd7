"""The service that an application uses: enqueue, read, wait, cancel, retry."""

from lq_core.service.demand import Demand
from lq_core.service.queue_service import QueueService
from lq_core.service.routed_service import RoutedQueueService, service_of
from lq_core.service.sync_service import SyncEnqueueWithin, SyncQueueService, SyncTaskResult

__all__ = [
    "Demand",
    "QueueService",
    "RoutedQueueService",
    "SyncEnqueueWithin",
    "SyncQueueService",
    "SyncTaskResult",
    "service_of",
]
