"""The worker: it claims records, runs them, and does maintenance."""

from lq_core.worker.worker import Worker

__all__ = ["Worker"]
