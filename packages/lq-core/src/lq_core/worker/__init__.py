"""The worker: it claims records, runs them, and does maintenance."""

from lq_core.worker.store_workers import StoreWorkers, worker_of
from lq_core.worker.worker import Worker

__all__ = ["StoreWorkers", "Worker", "worker_of"]
