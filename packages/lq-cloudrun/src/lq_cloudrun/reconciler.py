"""
Compares records with their executions, and settles what no container will settle any more.

The record beats Cloud Run: only a record that is still waiting for its execution is changed, by its epoch. One sweep
of the list answers for all records of a job; each record is looked at no more often than its phase asks for.
"""

import time
import weakref
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.definitions import LOOKING
from lq_cloudrun.executions import Executions, Sweep
from lq_cloudrun.living import living_workers
from lq_cloudrun.refusal import Refusal, code_of, refusal_of
from lq_cloudrun.status import CloudRunExecutionStatus, log_url_of, status_of, unknown
from lq_cloudrun.target import Targets, names_execution
from lq_core import lifecycle
from lq_core.backoff import backoff_delay
from lq_core.event_log import event_log
from lq_core.execution import ExecutionService
from lq_core.record import Place, QueuedTaskRecord, TaskFailure, TaskStatus

log = event_log("lq.cloudrun")

MOST_PLANS: Final = 20_000
"""How many records' next looks are remembered before the oldest half is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What is known when records are looked at."""

    service: ExecutionService
    now: datetime
    alive: frozenset[str]
    """The workers that have not missed two heartbeats."""


class Reconciler:
    """Looks at the records of one configuration."""

    def __init__(self, config: CloudRunExecutionConfig, *, targets: Targets, executions: Executions) -> None:
        self._config = config
        self._targets = targets
        self._executions = executions
        self._next_look: dict[Place, datetime] = {}
        self._absent_since: dict[Place, tuple[datetime, Callable[[], Sweep | None]]] = {}
        self._sweeps: dict[str, tuple[float, Sweep]] = {}

    async def look(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Look at one record now, whatever its phase; return it if that changed its state."""
        if record.status not in {TaskStatus.DISPATCHED, TaskStatus.RUNNING} or _is_left_to_its_worker(record):
            return None
        scene, ref, job = await self._scene(service, [record]), record.execution_ref, self._targets.job_of(record)
        try:
            if ref is None or not names_execution(ref):
                return await self._find(scene, record, self._executions.sweep(job) if job else None)
            return await self._judge(scene, record, await self._executions.get(ref))
        except Exception as error:  # noqa: BLE001 -- what is not Google's is raised again
            changed = await self._not_shown(scene, job, [record], error)
            return changed[0] if changed else None

    async def look_at_due(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Look at those records whose phase asks for it now; return those that changed."""
        scene = await self._scene(service, records)
        by_job: defaultdict[str | None, list[QueuedTaskRecord]] = defaultdict(list)
        for record in records:
            if self._is_due(record, scene):
                by_job[self._targets.job_of(record)].append(record)
        changed: list[QueuedTaskRecord] = []
        for job, group in by_job.items():
            try:
                changed += await self._look_at_job(scene, job, group)
            except Exception as error:  # noqa: BLE001 -- what is not Google's is raised again
                # One job that cannot be read hides no other; this one is looked at again.
                changed += await self._not_shown(scene, job, group, error)
        return changed

    async def _not_shown(
        self, scene: Scene, job: str | None, records: Sequence[QueuedTaskRecord], error: Exception
    ) -> list[QueuedTaskRecord]:
        """Log that executions could not be looked at; where they never can, the start deadline holds all the same."""
        code = code_of(error)
        if not code:
            raise error
        self._sweeps.pop(job or "", None)
        facts = {"job": job, "error": f"{type(error).__name__}: {error}"}
        if code == "PERMISSION_DENIED":
            facts["advice"] = f"Grant {LOOKING} on the job to the service account of the workers."
        log.warning("cloudrun.look_failed", extra=facts)
        changed: list[QueuedTaskRecord] = []
        if refusal_of(error) in {Refusal.MISCONFIGURED, Refusal.REFUSED}:
            for record in records:
                self._plan(record, scene)
                after = await self._judge(scene, record, None)
                changed += [after] if after else []
        return changed

    async def _look_at_job(
        self, scene: Scene, job: str | None, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        named = {ref for record in records if (ref := record.execution_ref) and names_execution(ref)}
        reserved = {(record.id, record.epoch) for record in records if not names_execution(record.execution_ref)}
        sweep = self._sweep(job) if job else None
        if sweep is not None:
            await sweep.read(named, reserved)
        changed: list[QueuedTaskRecord] = []
        for record in records:
            ref = record.execution_ref
            if ref is None or not names_execution(ref):
                after = await self._find(scene, record, sweep)
            else:
                seen = sweep.named(ref) if sweep else None
                after = await self._judge(scene, record, seen or await self._executions.get(ref))
            self._plan(record, scene)
            if after is not None:
                changed.append(after)
        return changed

    # ------------------------------------------------------------ when

    def _is_due(self, record: QueuedTaskRecord, scene: Scene) -> bool:
        if _is_left_to_its_worker(record):
            return False
        planned = self._next_look.get((record.id, record.epoch))
        if planned is not None and scene.now < planned:
            return False
        if record.status is TaskStatus.RUNNING:
            return record.worker_id not in scene.alive
        wait = self._config.claim_check_after if names_execution(record.execution_ref) else self._config.confirm_after
        return scene.now >= _handed_over(record) + timedelta(seconds=min(wait, self._config.start_deadline))

    def _plan(self, record: QueuedTaskRecord, scene: Scene) -> None:
        pause = self._config.poll_interval
        if record.status is TaskStatus.DISPATCHED and names_execution(record.execution_ref):
            deadline = _handed_over(record) + timedelta(seconds=self._config.start_deadline)
            left = (deadline - scene.now).total_seconds()
            pause = max(pause, min(self._config.claim_check_interval, left))
        self._next_look[record.id, record.epoch] = scene.now + timedelta(seconds=pause)
        if len(self._next_look) > MOST_PLANS:
            for place in list(self._next_look)[: MOST_PLANS // 2]:
                del self._next_look[place]
                self._absent_since.pop(place, None)

    # ------------------------------------------------------------ what

    async def _find(self, scene: Scene, record: QueuedTaskRecord, sweep: Sweep | None) -> QueuedTaskRecord | None:
        """Look for the execution of a reservation whose call was never answered."""
        place = record.id, record.epoch
        execution = None
        if sweep is not None:
            await sweep.read(frozenset(), {place})
            execution = sweep.reserved(place)
        if execution is None:
            return await self._absent(scene, record, sweep)
        self._absent_since.pop(place, None)
        confirmed = lifecycle.attach(record, execution_ref=execution.name, log_url=log_url_of(execution))
        if not await scene.service.swap(record, confirmed):
            return None
        log.info("cloudrun.found", extra={"record_id": str(record.id), "execution": execution.name})
        return await self._judge(scene, confirmed, execution) or confirmed

    async def _absent(self, scene: Scene, record: QueuedTaskRecord, sweep: Sweep | None) -> QueuedTaskRecord | None:
        place = record.id, record.epoch
        since, first = self._absent_since.setdefault(place, (scene.now, weakref.ref(sweep) if sweep else _nothing))
        looked_once = sweep is not None and sweep is first()
        if looked_once or scene.now < since + timedelta(seconds=self._config.absence_margin):
            return None
        if scene.now < _handed_over(record) + timedelta(seconds=self._config.rpc_timeout):
            return None
        del self._absent_since[place]
        message = "its execution was never created"
        return await self._keep(scene, record, lifecycle.release(record, at=scene.now, message=message), message)

    async def _judge(self, scene: Scene, record: QueuedTaskRecord, execution: Any | None) -> QueuedTaskRecord | None:
        status = unknown("Cloud Run does not know the execution") if execution is None else status_of(execution)
        if record.status is TaskStatus.RUNNING:
            return await self._judge_running(scene, record, status)
        name = record.execution_ref if names_execution(record.execution_ref) else None
        what = f"Execution {_short(name)}" if name else "Its execution"
        if status.ended:
            return await self._lose(scene, record, f"{what} {status.summary} without claiming it.")
        if scene.now >= _handed_over(record) + timedelta(seconds=self._config.start_deadline):
            if name:
                await self._executions.stop(name)
            limit = f"start_deadline of {self._config.start_deadline:g} s"
            return await self._lose(scene, record, f"{what} did not claim it within {limit}.")
        return None

    async def _judge_running(
        self, scene: Scene, record: QueuedTaskRecord, status: CloudRunExecutionStatus
    ) -> QueuedTaskRecord | None:
        if not status.ended or record.worker_id in scene.alive:
            return None
        name = _short(str(record.execution_ref))
        if not status.succeeded or record.cancel_requested:
            return await self._lose(scene, record, f"Execution {name} {status.summary} without recording a result.")
        failure = TaskFailure(
            type="ExecutionLost",
            message=f"Execution {name} ended without recording a result (exit code 0): does the task end the process?",
        )
        failed = lifecycle.retry_or_fail(record, failure=failure, delay=None, at=scene.now)
        return await self._keep(scene, record, failed, failure.message)

    async def _lose(self, scene: Scene, record: QueuedTaskRecord, message: str) -> QueuedTaskRecord | None:
        failure = TaskFailure(type="ExecutionLost", message=message)
        delay = backoff_delay(record.backoff, record.losses + 1)
        lost = lifecycle.lose(record, failure=failure, delay=delay, at=scene.now)
        return await self._keep(scene, record, lost, message)

    async def _keep(
        self, scene: Scene, record: QueuedTaskRecord, after: QueuedTaskRecord, message: str
    ) -> QueuedTaskRecord | None:
        if not await scene.service.swap(record, after):
            return None
        log.warning(
            "cloudrun.reconciled",
            extra={"record_id": str(record.id), "status": after.status.value, "reason": message},
        )
        return after

    # ------------------------------------------------------------ with what

    async def _scene(self, service: ExecutionService, records: Sequence[QueuedTaskRecord]) -> Scene:
        now = service.queue_backend.now()
        alive: frozenset[str] = frozenset()
        if any(record.status is TaskStatus.RUNNING for record in records):
            alive = frozenset(worker.id for worker in await living_workers(service))
        return Scene(service=service, now=now, alive=alive)

    def _sweep(self, job: str) -> Sweep:
        """Go on with the sweep that the last page of records began, if that was in this round."""
        begun, sweep = self._sweeps.get(job, (0.0, None))
        now = time.monotonic()
        if sweep is None or now - begun >= self._config.poll_interval / 2:
            begun, sweep = now, self._executions.sweep(job)
            self._sweeps[job] = begun, sweep
        return sweep


def _nothing() -> None:
    return None


def _is_left_to_its_worker(record: QueuedTaskRecord) -> bool:
    """Whether a record runs in no execution of its own: where Cloud Run drains, or by hand. Its heartbeat decides."""
    return record.status is TaskStatus.RUNNING and not names_execution(record.execution_ref)


def _handed_over(record: QueuedTaskRecord) -> datetime:
    return record.started_at or record.scheduled_at


def _short(name: str) -> str:
    return name.rpartition("/")[2]
