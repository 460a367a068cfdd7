"""What an application holds: enqueue, look, wait, cancel, retry."""

from lq_core.service.queue_service import QueueService

__all__ = ["QueueService"]
