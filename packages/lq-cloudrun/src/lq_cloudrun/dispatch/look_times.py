"""When the reconciler looks at a record, and what it remembers of the record between two looks."""

import weakref
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Final

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions.executions import Sweep
from lq_cloudrun.executions.target import names_execution
from lq_core.records.record import Fence, QueuedTaskRecord, TaskStatus

MOST_PLANS: Final = 20_000
"""How many planned looks are remembered before the oldest half is dropped."""


class Looks:
    """The next look at each record, and since when its execution has been absent from the list of its job."""

    def __init__(self, config: CloudRunExecutionConfig) -> None:
        self._config = config
        self._next: dict[Fence, datetime] = {}
        self._absent: dict[Fence, tuple[datetime, Callable[[], Sweep | None]]] = {}

    def is_due(self, record: QueuedTaskRecord, *, now: datetime, alive: AbstractSet[str]) -> bool:
        """Whether to look at a record now: by its phase, and not before its planned look."""
        planned = self._next.get((record.id, record.epoch))
        if is_left_to_its_worker(record) or (planned is not None and now < planned):
            return False
        if record.status is TaskStatus.RUNNING:
            return record.worker_id not in alive
        wait = self._config.claim_check_after if names_execution(record.execution_ref) else self._config.confirm_after
        return now >= handed_over(record) + timedelta(seconds=min(wait, self._config.start_deadline))

    def plan(self, record: QueuedTaskRecord, *, now: datetime) -> None:
        """Plan the next look at a record that was looked at now."""
        pause = self._config.poll_interval
        if record.status is TaskStatus.DISPATCHED and names_execution(record.execution_ref):
            left = (handed_over(record) + timedelta(seconds=self._config.start_deadline) - now).total_seconds()
            pause = max(pause, min(self._config.claim_check_interval, left))
        self._next[record.id, record.epoch] = now + timedelta(seconds=pause)
        if len(self._next) > MOST_PLANS:
            for fence in list(self._next)[: MOST_PLANS // 2]:
                del self._next[fence]
                self._absent.pop(fence, None)

    def is_missing(self, record: QueuedTaskRecord, sweep: Sweep | None, *, now: datetime) -> bool:
        """
        Whether an execution that *sweep* has not found does not exist.

        It has to be absent for ``absence_margin`` seconds and from two sweeps, and its call has to have timed out.
        """
        fence = record.id, record.epoch
        since, first = self._absent.setdefault(fence, (now, weakref.ref(sweep) if sweep else lambda: None))
        looked_once = sweep is not None and sweep is first()
        if looked_once or now < since + timedelta(seconds=self._config.absence_margin):
            return False
        if now < handed_over(record) + timedelta(seconds=self._config.rpc_timeout):
            return False
        del self._absent[fence]
        return True

    def found(self, record: QueuedTaskRecord) -> None:
        """Forget that the execution of a record was absent."""
        self._absent.pop((record.id, record.epoch), None)


def is_left_to_its_worker(record: QueuedTaskRecord) -> bool:
    """Whether a record runs without an execution of its own, as in pull mode. The heartbeat of its worker decides."""
    return record.status is TaskStatus.RUNNING and not names_execution(record.execution_ref)


def handed_over(record: QueuedTaskRecord) -> datetime:
    """Return when a record was dispatched."""
    return record.started_at or record.scheduled_at
