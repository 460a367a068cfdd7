"""Where records are stored: the interface of a store, the front door, and the registry of queue backends."""

from lq_core.queue.base import BaseQueueBackend
from lq_core.queue.capabilities import (
    Actions,
    Backups,
    Findings,
    Migrations,
    Notifications,
    Rollups,
    Successors,
    ThreadHeartbeats,
    Transactions,
    Versions,
)
from lq_core.queue.conflicts import insert_or_amend
from lq_core.queue.diagnosis import Finding
from lq_core.queue.messages import (
    Action,
    Backup,
    Claim,
    Claimed,
    DueRecords,
    Insertion,
    Migration,
    Proposal,
    QueueState,
    RecordFilter,
    Statistics,
    Swap,
    Unblocked,
    WorkerInfo,
)
from lq_core.queue.queue import Queue
from lq_core.queue.registry import get_queue_backend, get_queue_backend_class, queue_backend
from lq_core.queue.rollups import Rollup
from lq_core.queue.search import Words
from lq_core.queue.store import QueueStore

__all__ = [
    "Action",
    "Actions",
    "Backup",
    "Backups",
    "BaseQueueBackend",
    "Claim",
    "Claimed",
    "DueRecords",
    "Finding",
    "Findings",
    "Insertion",
    "Migration",
    "Migrations",
    "Notifications",
    "Proposal",
    "Queue",
    "QueueState",
    "QueueStore",
    "RecordFilter",
    "Rollup",
    "Rollups",
    "Statistics",
    "Successors",
    "Swap",
    "ThreadHeartbeats",
    "Transactions",
    "Unblocked",
    "Versions",
    "Words",
    "WorkerInfo",
    "get_queue_backend",
    "get_queue_backend_class",
    "insert_or_amend",
    "queue_backend",
]
