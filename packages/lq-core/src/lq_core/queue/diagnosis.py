"""What can hurt a queue, wherever it is kept: the checks of ``lq doctor`` that work on any backend."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from lq_core.queue.messages import QueueState, Statistics, WorkerInfo
from lq_core.record import QueuedTaskRecord, TaskStatus

LONG_WAIT: Final = 60.0
"""Seconds that a ready record may wait before somebody should look."""

SAMPLE: Final = 200
"""How many records of a status are looked at, the newest."""

START: Final = "Start a worker: lq worker module:config"


class Finding(Struct, frozen=True, kw_only=True):
    """The answer of one check."""

    check: str
    """What was looked at, such as ``"oldest ready record"``."""

    found: str
    advice: str | None = None
    """What to do; None when all is well."""


def oldest_ready(
    statistics: Statistics, workers: Sequence[WorkerInfo], queues: Mapping[str, QueueState], *, at: datetime
) -> Finding:
    """Tell how long the record has waited that could have been started first."""
    check = "oldest ready record"
    if statistics.oldest_due is None:
        return Finding(check=check, found="none waits")
    seconds = max(0.0, (at - statistics.oldest_due).total_seconds())
    alive = len(_claiming(workers))
    found = f"has waited {seconds:.0f} s; {_count(alive, 'worker')} alive"
    if seconds <= LONG_WAIT:
        return Finding(check=check, found=found)
    paused = sorted(name for name, state in queues.items() if state.paused and _waiting(statistics, name))
    if paused:
        found += f"; paused: {', '.join(paused)}"
        advice = f"Resume what is to run: lq queues resume {' '.join(paused)}"
    elif alive:
        advice = "Start more workers, or raise their concurrency."
    else:
        advice = START
    return Finding(check=check, found=found, advice=advice)


def heard_of(statistics: Statistics, workers: Sequence[WorkerInfo], *, timeout: float, at: datetime) -> Finding:
    """Tell which workers are there, and whether one has fallen silent."""
    alive = _claiming(workers)
    waiting = statistics.total(TaskStatus.PENDING)
    found = f"{_count(len(alive), 'worker')} alive, {_count(waiting, 'record')} pending"
    silent = [worker.id for worker in workers if (at - worker.seen_at).total_seconds() > timeout]
    if silent:
        found += f"; not heard of for {timeout:g} s: {', '.join(sorted(silent))}"
        advice = "See whether it was killed or its machine hangs; another worker takes over what it was running."
        return Finding(check="workers", found=found, advice=advice)
    advice = None if alive or not waiting else START
    return Finding(check="workers", found=found, advice=advice)


def unserved(pending: Sequence[QueuedTaskRecord], workers: Sequence[WorkerInfo]) -> Finding:
    """Tell of waiting records that no worker would ever take, while there are workers."""
    claiming = _claiming(workers)
    missed = [record for record in pending if not any(_serves(worker, record) for worker in claiming)]
    if not missed or not claiming:
        return Finding(check="records without a worker", found="none among the newest" if pending else "none")
    lanes = sorted({f"queue {record.queue!r} on {record.execution_backend!r}" for record in missed})
    return Finding(
        check="records without a worker",
        found=f"{_count(len(missed), 'record')} of {', '.join(lanes)}",
        advice="Let a worker serve that queue, install and configure that execution backend there, or cancel them.",
    )


def abandoned(running: Sequence[QueuedTaskRecord], workers: Sequence[WorkerInfo]) -> Finding:
    """Tell of running records whose worker is gone and that nobody has taken over."""
    known = {worker.id for worker in workers}
    lost = [record for record in running if record.worker_id not in known]
    found = f"{len(running)} run here, {len(lost)} without a worker that is alive"
    advice = f"Any worker gives them back to the queue; begin with: lq records show {lost[0].id}" if lost else None
    return Finding(check="running records", found=found, advice=advice)


def unknown_tasks(failed: Sequence[QueuedTaskRecord]) -> Finding:
    """Tell of records that failed only because the worker did not know their task."""
    names = sorted({record.task_name for record in failed if record.error and record.error.type == "UnknownTaskError"})
    if not names:
        return Finding(check="unknown tasks", found="none")
    again = f"lq records retry --status failed --task {','.join(names)}"
    advice = f"Name their modules in QueueConfig(task_modules=...), restart the workers, and retry: {again}"
    return Finding(check="unknown tasks", found=", ".join(names), advice=advice)


def _claiming(workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    """Leave out the processes that are registered only for what they run inline."""
    return [worker for worker in workers if worker.execution_backends]


def _serves(worker: WorkerInfo, record: QueuedTaskRecord) -> bool:
    is_served = worker.queues is None or record.queue in worker.queues
    return is_served and record.execution_backend in worker.execution_backends


def _waiting(statistics: Statistics, queue: str) -> int:
    return statistics.counts.get(queue, {}).get(TaskStatus.PENDING, 0)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
