"""Small records whose whole life is at noon, and what their steps need."""

from datetime import UTC, datetime
from uuid import UUID

from lq_core import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.records import lifecycle

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FAILURE = TaskFailure(type="ValueError", message="no")


def a_record(*, status: TaskStatus = TaskStatus.PENDING, retries: int = 0, losses: int = 0) -> QueuedTaskRecord:
    return QueuedTaskRecord(
        id=UUID(int=1), task_name="t", created_at=NOON, scheduled_at=NOON, status=status, retries=retries, losses=losses
    )


def running(*, retries: int = 0, losses: int = 0) -> QueuedTaskRecord:
    return lifecycle.claim(a_record(retries=retries, losses=losses), worker_id="ada", at=NOON)
