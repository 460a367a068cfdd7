"""Where records are stored: the contract, what passes through it, and how a backend is found by name."""

from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.conflicts import insert_or_amend
from lq_core.queue.diagnosis import Finding
from lq_core.queue.messages import (
    Claim,
    Claimed,
    Freed,
    Insertion,
    Migration,
    Proposal,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    WorkerInfo,
)
from lq_core.queue.registry import get_queue_backend, get_queue_backend_class, queue_backend

__all__ = [
    "BaseQueueBackend",
    "Claim",
    "Claimed",
    "Finding",
    "Freed",
    "Insertion",
    "Migration",
    "Proposal",
    "QueueState",
    "RecordFilter",
    "Statistics",
    "Swap",
    "WorkerInfo",
    "get_queue_backend",
    "get_queue_backend_class",
    "insert_or_amend",
    "queue_backend",
]
