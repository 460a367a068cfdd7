"""
Durable background tasks for async Python: records, their life, the service and the worker.
"""

from lq_core.config import QueueConfig
from lq_core.context import NonRetryable, RetryLater, TaskContext, current_context
from lq_core.errors import (
    ConfigurationError,
    DuplicateKeyError,
    DuplicateRecordError,
    DuplicateScheduleError,
    DuplicateTaskError,
    IllegalMoveError,
    InvalidArgumentError,
    InvalidResultError,
    MissingProviderError,
    OwnershipLostError,
    PayloadTooLargeError,
    QueueError,
    RecordNotFoundError,
    SchemaError,
    StorageError,
    TaskDefinitionError,
    TaskFailedError,
    UnknownBackendError,
    UnknownScheduleError,
    UnknownTaskError,
    WaitTimeoutError,
)
from lq_core.execution import (
    BaseExecutionBackend,
    execution_backend,
    get_execution_backend,
    get_execution_backend_class,
)
from lq_core.injected import INJECTED
from lq_core.metrics import Measure, Metrics
from lq_core.middleware import Middleware, Proceed
from lq_core.options import OnConflict
from lq_core.outcome import Outcome
from lq_core.provider import Provider, per_attempt, per_worker
from lq_core.queue import (
    BaseQueueBackend,
    Finding,
    RecordFilter,
    Statistics,
    WorkerInfo,
    get_queue_backend,
    get_queue_backend_class,
    queue_backend,
)
from lq_core.record import (
    AfterFailure,
    Backoff,
    HistoryEntry,
    KeyScope,
    Limits,
    Progress,
    QueuedTaskRecord,
    RateLimit,
    TaskFailure,
    TaskStatus,
)
from lq_core.result import EnqueueOutcome, TaskResult
from lq_core.schedule import Schedule, find_schedule, known_schedules, schedule
from lq_core.schedule_state import ScheduleState
from lq_core.service import QueueService
from lq_core.task import AsyncTask, PlainTask, Task, TaskCall, find_task, known_tasks, task
from lq_core.timeline import Event, timeline
from lq_core.worker import Worker

__all__ = [
    "INJECTED",
    "AfterFailure",
    "AsyncTask",
    "Backoff",
    "BaseExecutionBackend",
    "BaseQueueBackend",
    "ConfigurationError",
    "DuplicateKeyError",
    "DuplicateRecordError",
    "DuplicateScheduleError",
    "DuplicateTaskError",
    "EnqueueOutcome",
    "Event",
    "Finding",
    "HistoryEntry",
    "IllegalMoveError",
    "InvalidArgumentError",
    "InvalidResultError",
    "KeyScope",
    "Limits",
    "Measure",
    "Metrics",
    "Middleware",
    "MissingProviderError",
    "NonRetryable",
    "OnConflict",
    "Outcome",
    "OwnershipLostError",
    "PayloadTooLargeError",
    "PlainTask",
    "Proceed",
    "Progress",
    "Provider",
    "QueueConfig",
    "QueueError",
    "QueueService",
    "QueuedTaskRecord",
    "RateLimit",
    "RecordFilter",
    "RecordNotFoundError",
    "RetryLater",
    "Schedule",
    "ScheduleState",
    "SchemaError",
    "Statistics",
    "StorageError",
    "Task",
    "TaskCall",
    "TaskContext",
    "TaskDefinitionError",
    "TaskFailedError",
    "TaskFailure",
    "TaskResult",
    "TaskStatus",
    "UnknownBackendError",
    "UnknownScheduleError",
    "UnknownTaskError",
    "WaitTimeoutError",
    "Worker",
    "WorkerInfo",
    "current_context",
    "execution_backend",
    "find_schedule",
    "find_task",
    "get_execution_backend",
    "get_execution_backend_class",
    "get_queue_backend",
    "get_queue_backend_class",
    "known_schedules",
    "known_tasks",
    "per_attempt",
    "per_worker",
    "queue_backend",
    "schedule",
    "task",
    "timeline",
]
