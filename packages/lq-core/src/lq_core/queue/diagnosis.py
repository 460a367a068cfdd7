"""The findings of ``lq doctor``, and the checks that work on any store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from lq_core.queue.messages import QueueState, Statistics, WorkerInfo
from lq_core.records.history import passed_on
from lq_core.records.record import HistoryEntry, QueuedTaskRecord, TaskStatus

LONG_WAIT: Final = 60.0
"""Seconds after which a ready record that still waits is a warning."""

SAMPLE: Final = 200
"""How many of the newest records of a status are checked, and how many of the oldest."""

START: Final = "Start a worker: lq worker module:config"

Level = Literal["ok", "warning"]


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check: of a store, an execution backend or the configuration."""

    check: str
    """The name of the check, for example ``"oldest ready record"``."""

    level: Level = "ok"
    """``"warning"`` if you have to act. ``lq doctor`` exits with 1 if there is a warning."""

    found: str
    advice: str | None = None
    """What to do. An ``"ok"`` finding may have advice too, if only you can know whether you need it."""

    @classmethod
    def of(cls, check: str, found: str, *, advice: str | None = None) -> "Finding":
        """Make a finding: a warning if there is *advice*, otherwise ok."""
        return cls(check=check, level="warning" if advice else "ok", found=found, advice=advice)


def oldest_ready(
    statistics: Statistics, workers: Sequence[WorkerInfo], queues: Mapping[str, QueueState], *, at: datetime
) -> Finding:
    """Report how long the oldest record that may start now has waited."""
    check = "oldest ready record"
    if statistics.oldest_due is None:
        return Finding.of(check, "none")
    seconds = max(0.0, (at - statistics.oldest_due).total_seconds())
    alive = len(_claiming(workers))
    found = f"has waited {seconds:.0f} s; {_count(alive, 'worker')} alive"
    if seconds <= LONG_WAIT:
        return Finding.of(check, found)
    paused = sorted(name for name, state in queues.items() if state.paused and _waiting(statistics, name))
    if paused:
        found += f"; paused: {', '.join(paused)}"
        advice = f"Resume the queues that should run: lq queues resume {' '.join(paused)}"
    elif alive:
        advice = "Start more workers, or raise their concurrency."
    else:
        advice = START
    return Finding.of(check, found, advice=advice)


def heard_of(statistics: Statistics, workers: Sequence[WorkerInfo], *, timeout: float, at: datetime) -> Finding:
    """Report how many workers are alive, and which have stopped sending heartbeats."""
    alive = _claiming(workers)
    waiting = statistics.total(TaskStatus.PENDING)
    found = f"{_count(len(alive), 'worker')} alive, {_count(waiting, 'record')} pending"
    silent = [worker.id for worker in workers if (at - worker.seen_at).total_seconds() > timeout]
    if silent:
        found += f"; no heartbeat for {timeout:g} s: {', '.join(sorted(silent))}"
        advice = "Check whether these processes were killed or are stuck. Another worker rescues their records."
        return Finding.of("workers", found, advice=advice)
    if failing := sorted(worker.id for worker in workers if worker.has_given_up):
        found += f"; claims fail: {', '.join(failing)}"
        return Finding.of("workers", found, advice="Their logs say why, at worker.gave_up and worker.step_failed.")
    return Finding.of("workers", found, advice=None if alive or not waiting else START)


def unserved(pending: Sequence[QueuedTaskRecord], workers: Sequence[WorkerInfo]) -> Finding:
    """Report pending records that no worker serves. Without any worker there is nothing to report."""
    claiming = _claiming(workers)
    missed = [record for record in pending if not any(_serves(worker, record) for worker in claiming)]
    if not missed or not claiming:
        return Finding.of("records without a worker", "none among the newest" if pending else "none")
    partitions = sorted({f"queue {record.queue!r} on {record.execution_backend!r}" for record in missed})
    return Finding.of(
        "records without a worker",
        f"{_count(len(missed), 'record')} of {', '.join(partitions)}",
        advice="Start a worker that serves this queue and has this execution backend, or cancel the records.",
    )


def abandoned(running: Sequence[QueuedTaskRecord], workers: Sequence[WorkerInfo]) -> Finding:
    """Report running records whose worker is gone and that no other worker has rescued yet."""
    known = {worker.id for worker in workers}
    lost = [record for record in running if record.worker_id not in known]
    found = f"{len(running)} running, {len(lost)} without a live worker"
    advice = f"Any running worker rescues them. Look at the first: lq records show {lost[0].id}" if lost else None
    return Finding.of("running records", found, advice=advice)


def unknown_tasks(pending: Sequence[QueuedTaskRecord], failed: Sequence[QueuedTaskRecord]) -> Finding:
    """Report the tasks that no worker knew, or whose arguments none could read: records that wait or have failed."""
    waiting: dict[str, HistoryEntry] = {}
    for record in pending:
        entry = passed_on(record)
        if entry is not None:
            waiting[record.task_name] = min(entry, waiting.get(record.task_name, entry), key=lambda one: one.at)
    names = sorted({record.task_name for record in failed if record.error and record.error.type == "UnknownTaskError"})
    told = [
        f"{name} since {entry.at:%Y-%m-%d %H:%M:%S} ({entry.failure.message if entry.failure else ''})"
        for name, entry in sorted(waiting.items())
    ]
    if not names and not told:
        return Finding.of("unknown tasks", "none")
    advice = "Add their modules to QueueConfig(task_modules=...), and restart the workers with the code that knows them"
    advice += f"; {len(told)} of them wait for that." if told else "."
    if names:
        advice += f" Then retry the failed ones: lq records retry --status failed --task {','.join(names)}"
    return Finding.of("unknown tasks", ", ".join([*names, *told]), advice=advice)


def _claiming(workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    """Leave out workers that have given up, and processes that are registered only for the records they run inline."""
    return [worker for worker in workers if worker.execution_backends and not worker.has_given_up]


def _serves(worker: WorkerInfo, record: QueuedTaskRecord) -> bool:
    is_served = worker.queues is None or record.queue in worker.queues
    return is_served and record.execution_backend in worker.execution_backends


def _waiting(statistics: Statistics, queue: str) -> int:
    return statistics.counts.get(queue, {}).get(TaskStatus.PENDING, 0)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
