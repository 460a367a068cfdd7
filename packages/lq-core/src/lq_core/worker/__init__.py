"""What takes records from the queue and sees to it that none is forgotten."""

from lq_core.worker.worker import Worker

__all__ = ["Worker"]
