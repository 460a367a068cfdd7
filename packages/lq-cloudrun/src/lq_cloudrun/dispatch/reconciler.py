"""
Compares records with their executions, and settles the records that no container will settle.

The record beats Cloud Run: the reconciler changes a record only if it still waits for its execution, by its epoch. One
sweep of the list serves all records of a job.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from lq_cloudrun.dispatch.look_times import Looks, handed_over, is_left_to_its_worker
from lq_cloudrun.dispatch.pacer import live_workers
from lq_cloudrun.dispatch.reader_turns import Turns
from lq_cloudrun.executions.executions import Executions, Sweep
from lq_cloudrun.executions.status import CloudRunExecutionStatus, log_url_of, status_of
from lq_cloudrun.executions.target import names_execution
from lq_cloudrun.google.refusal import LOOKING, Refusal, code_of, line_of, refusal_of
from lq_core.execution import ExecutionService
from lq_core.foundation.event_log import event_log
from lq_core.records import lifecycle
from lq_core.records.backoff import backoff_delay
from lq_core.records.record import OWNED, QueuedTaskRecord, TaskFailure, TaskStatus

log = event_log("lq.cloudrun")


class Scene(Struct, frozen=True, kw_only=True):
    """The circumstances of one round of looks."""

    service: ExecutionService
    now: datetime
    alive: frozenset[str]
    """The ids of the live workers."""


class Reconciler:
    """Reconciles the records of one configuration."""

    def __init__(self, executions: Executions, turns: Turns) -> None:
        self._config = executions.config
        self._executions = executions
        self._turns = turns
        self._looks = Looks(executions.config)
        self._sweeps: dict[str, tuple[float, Sweep]] = {}

    async def look(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Reconcile one record now, whatever its phase. Return it if its state changed."""
        if record.status not in OWNED or is_left_to_its_worker(record):
            return None
        scene, job = await self._scene(service, [record]), self._executions.targets.job_of(record)
        sweep = self._executions.sweep(job) if job and not names_execution(record.execution_ref) else None
        changed = await self._look_at_job(scene, job, [record], sweep)
        return changed[0] if changed else None

    async def look_at_due(
        self, service: ExecutionService, records: Sequence[QueuedTaskRecord]
    ) -> list[QueuedTaskRecord]:
        """Reconcile those of *records* that are due and whose jobs this process reads. Return those that changed."""
        scene = await self._scene(service, records)
        by_job: defaultdict[str | None, list[QueuedTaskRecord]] = defaultdict(list)
        for record in records:
            if self._looks.is_due(record, now=scene.now, alive=scene.alive):
                by_job[self._executions.targets.job_of(record)].append(record)
        ours = await self._turns.ours(service, filter(None, by_job)) if by_job else frozenset[str]()
        changed: list[QueuedTaskRecord] = []
        for job, group in by_job.items():
            if job is not None and job not in ours:
                continue
            changed += await self._look_at_job(scene, job, group, self._sweep(job) if job else None)
        return changed

    async def _look_at_job(
        self, scene: Scene, job: str | None, records: Sequence[QueuedTaskRecord], sweep: Sweep | None
    ) -> list[QueuedTaskRecord]:
        changed: list[QueuedTaskRecord | None] = []
        try:
            if sweep is not None:
                named = {str(record.execution_ref) for record in records if names_execution(record.execution_ref)}
                fences = {(record.id, record.epoch) for record in records if not names_execution(record.execution_ref)}
                await sweep.read(named, fences)
            for record in records:
                changed.append(await self._look_at(scene, record, sweep))
                self._looks.plan(record, now=scene.now)
        except Exception as error:
            code = code_of(error)
            if not code:
                raise
            self._sweeps.pop(job or "", None)
            facts = {"job": job, "error": line_of(error)}
            if code == "PERMISSION_DENIED":
                facts["advice"] = f"Grant {LOOKING} on the job to the service account of the workers."
            log.warning("cloudrun.look_failed", extra=facts)
            may_be_shown_soon = refusal_of(error) in {Refusal.TOO_FAST, Refusal.UNKNOWN}
            for record in records:
                if may_be_shown_soon:
                    changed.append(await self._judge_in_outage(scene, record))
                else:
                    self._looks.plan(record, now=scene.now)
                    changed.append(await self._judge(scene, record, None))
        return [record for record in changed if record is not None]

    # ------------------------------------------------------------ one record

    async def _look_at(self, scene: Scene, record: QueuedTaskRecord, sweep: Sweep | None) -> QueuedTaskRecord | None:
        ref = record.execution_ref
        if ref is not None and names_execution(ref):
            seen = sweep.named.get(ref) if sweep else None
            return await self._judge(scene, record, seen or await self._executions.get(ref))
        # A reservation: its call got no answer.
        execution = sweep.reserved.get((record.id, record.epoch)) if sweep else None
        if execution is None:
            if not self._looks.is_missing(record, sweep, now=scene.now):
                return None
            message = "its execution was never created"
            return await self._keep(scene, record, lifecycle.release(record, at=scene.now, message=message), message)
        self._looks.found(record)
        confirmed = lifecycle.attach(record, execution_ref=execution.name, log_url=log_url_of(execution))
        if not await scene.service.swap(record, confirmed):
            return None
        log.info("cloudrun.found", extra={"record_id": str(record.id), "execution": execution.name})
        return await self._judge(scene, confirmed, execution) or confirmed

    async def _judge(self, scene: Scene, record: QueuedTaskRecord, execution: Any | None) -> QueuedTaskRecord | None:
        status = status_of(execution)
        if record.status is TaskStatus.RUNNING:
            return await self._judge_running(scene, record, execution, status)
        name = record.execution_ref if names_execution(record.execution_ref) else None
        what = f"Execution {_short(name)}" if name else "Its execution"
        if status.ended:
            return await self._end_unclaimed(scene, record, execution, what)
        if not self._is_late(scene, record):
            return None
        limit = f"start_deadline of {self._config.start_deadline:g} s"
        lost = await self._lose(scene, record, f"{what} did not claim it within {limit}.")
        if lost is not None and name:
            # Only now: a container that has claimed the record meanwhile goes on.
            await self._executions.stop(name)
        return lost

    async def _judge_in_outage(self, scene: Scene, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        """Hold the start deadline while no answer shows executions. A call that may have failed then costs nothing."""
        if names_execution(record.execution_ref):
            return await self._judge(scene, record, None)
        if not self._is_late(scene, record):
            return None
        message = "its execution could not be looked for within start_deadline"
        return await self._keep(scene, record, lifecycle.release(record, at=scene.now, message=message), message)

    def _is_late(self, scene: Scene, record: QueuedTaskRecord) -> bool:
        return scene.now >= handed_over(record) + timedelta(seconds=self._config.start_deadline)

    async def _end_unclaimed(
        self, scene: Scene, record: QueuedTaskRecord, execution: Any, what: str
    ) -> QueuedTaskRecord | None:
        """Say in the history how the execution ended, what that means, and where its log is."""
        ending, log_url = await self._executions.ending(execution), log_url_of(execution) or record.log_url
        logs = log_url and f"Its log: {log_url}"
        message = _said(f"{what} {ending.summary} without claiming it.", ending.meaning, logs, ending.advice)
        if status_of(execution).cancelled and self._config.on_console_cancel == "cancel":
            return await self._cancel(scene, record, message)
        return await self._lose(scene, record, message)

    async def _judge_running(
        self, scene: Scene, record: QueuedTaskRecord, execution: Any, status: CloudRunExecutionStatus
    ) -> QueuedTaskRecord | None:
        if not status.ended or record.worker_id in scene.alive:
            return None
        name = _short(str(record.execution_ref))
        if not status.succeeded or record.cancel_requested:
            ending = await self._executions.ending(execution)
            message = _said(f"Execution {name} {ending.summary} without recording a result.", ending.advice)
            if status.cancelled and self._config.on_console_cancel == "cancel":
                return await self._cancel(scene, record, message)
            return await self._lose(scene, record, message)
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

    async def _cancel(self, scene: Scene, record: QueuedTaskRecord, message: str) -> QueuedTaskRecord | None:
        failure = TaskFailure(type="ExecutionCancelled", message=message)
        return await self._keep(scene, record, lifecycle.cancel(record, at=scene.now, failure=failure), message)

    async def _keep(
        self, scene: Scene, record: QueuedTaskRecord, after: QueuedTaskRecord, message: str
    ) -> QueuedTaskRecord | None:
        if not await scene.service.swap(record, after):
            return None
        facts = {"record_id": str(record.id), "status": after.status.value, "reason": message}
        log.warning("cloudrun.reconciled", extra=facts)
        return after

    # ------------------------------------------------------------ one round

    async def _scene(self, service: ExecutionService, records: Sequence[QueuedTaskRecord]) -> Scene:
        now = service.queue_backend.now()
        alive: frozenset[str] = frozenset()
        if any(record.status is TaskStatus.RUNNING for record in records):
            alive = frozenset(worker.id for worker in await live_workers(service))
        return Scene(service=service, now=now, alive=alive)

    def _sweep(self, job: str) -> Sweep:
        """Return the sweep of this round, which an earlier page of records may have begun."""
        begun, sweep = self._sweeps.get(job, (0.0, None))
        now = time.monotonic()
        if sweep is None or now - begun >= self._config.poll_interval / 2:
            begun, sweep = now, self._executions.sweep(job)
            self._sweeps[job] = begun, sweep
        return sweep


def _said(*sentences: str | None) -> str:
    return " ".join(filter(None, sentences))


def _short(name: str) -> str:
    return name.rpartition("/")[2]
