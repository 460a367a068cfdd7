"""
How many workers the work needs: one number, for whoever starts and stops workers.

It comes from how fast records arrive, how long they run, and how long the oldest has waited. Depth alone would ask for
as many workers for a thousand records of a millisecond as for a thousand of an hour.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from math import ceil
from typing import Final

from msgspec import Struct

from lq_core.foundation.duration import Duration, seconds
from lq_core.foundation.validation import Count, PositiveSeconds, check_value
from lq_core.queue import BaseQueueBackend
from lq_core.queue.messages import DueRecords, QueueState, RecordFilter, Statistics
from lq_core.records.identity import first_id_of
from lq_core.records.record import QueuedTaskRecord, TaskStatus

TARGET_WAIT: Final = 60.0
"""How long a due record may wait for its start, in seconds, unless the caller says otherwise."""

SAMPLE: Final = 200
"""How many of the newest records are read, and again of those enqueued before the oldest due record."""

WINDOW: Final = 300.0
"""Records that were enqueued more seconds ago say nothing about the arrival rate."""

SHORTEST_SPAN: Final = 10.0
"""
The shortest span, in seconds, that an arrival rate is taken from: the records of one burst do not arrive for ever.

A steady rate of more than SAMPLE records in this span is underestimated. Then the waiting time decides.
"""

UNKNOWN_SECONDS: Final = 1.0
"""How long a record is assumed to run while none has run."""


class Demand(Struct, frozen=True, kw_only=True):
    """
    The demand for workers, and the numbers that it comes from.

    For each queue that is not paused, the wanted slots are

    * ``max(arrival rate * running time, records that run)``, to keep up with what arrives, and
    * ``due records * running time / time left``, to start the due records in time, but no more than one for each.

    The time left is the target wait minus the wait of the oldest due record, and at least a quarter of the target. The
    concurrency limit of a queue caps its slots. The wanted workers are all slots, divided by the slots of one worker.
    """

    workers_wanted: int
    """How many workers there should be; 0 if nothing is due, runs, or has arrived within five minutes."""

    slots_wanted: float
    """How many records should run at once."""

    slots_per_worker: int
    target_wait: float
    """How long a due record may wait for its start, in seconds."""

    due: int
    """The records that may be claimed now."""

    running: int
    oldest_wait: float
    """How long the oldest due record has waited, in seconds."""

    arrivals_per_second: float
    seconds_per_record: float
    """How long one attempt takes on average."""


async def read_demand(
    queue: BaseQueueBackend,
    *,
    target_wait: Duration,
    concurrency: int,
    queues: Sequence[str] | None,
    statistics: Statistics | None = None,
) -> Demand:
    """
    Read a sample of at most ``2 * SAMPLE`` records, and return the demand of *queues*; None reads the *statistics*.

    Raises ConfigurationError for values that cannot work.
    """
    wait = seconds(target_wait)
    check_value("target_wait", wait, PositiveSeconds)
    check_value("concurrency", concurrency, Count)
    statistics = await queue.statistics() if statistics is None else statistics
    states, now = await queue.queues(), queue.now()
    newest = await queue.find(RecordFilter(), limit=SAMPLE)
    sample = {record.id: record for record in newest}
    if statistics.oldest_due is not None and len(newest) == SAMPLE:
        # In a backlog, the newest records all wait. Those that have run lately were enqueued before the oldest due one.
        before = first_id_of(statistics.oldest_due.timestamp())
        sample.update((record.id, record) for record in await queue.find(RecordFilter(), limit=SAMPLE, before=before))
    open_queues = [
        name
        for name in statistics.counts
        if (queues is None or name in queues) and not states.get(name, QueueState()).paused
    ]
    return demand_of(
        statistics,
        _arrivals(newest, now=now),
        running_times(sample.values(), now=now),
        _limits(states),
        now=now,
        target_wait=wait,
        slots_per_worker=concurrency,
        queues=open_queues,
    )


def demand_of(
    statistics: Statistics,
    arrivals: Mapping[str, float],
    running_times: Mapping[str, float],
    limits: Mapping[str, int],
    *,
    now: datetime,
    target_wait: float,
    slots_per_worker: int,
    queues: Sequence[str],
) -> Demand:
    """
    Return the demand of *queues*, as :class:`Demand` says.

    *arrivals* are per second, *running_times* in seconds, *limits* the concurrency limits; all are by queue.
    """
    slots, due, running, longest, work = 0.0, 0, 0, 0.0, 0.0
    unknown = _mean(running_times.values()) if running_times else UNKNOWN_SECONDS
    for name in queues:
        waiting = statistics.due.get(name, DueRecords(0, now))
        runs, takes = statistics.counts[name].get(TaskStatus.RUNNING, 0), running_times.get(name, unknown)
        wait, rate = max(0.0, (now - waiting.oldest).total_seconds()), arrivals.get(name, 0.0)
        left = max(target_wait - wait, target_wait / 4)
        wanted = max(rate * takes, runs) + min(waiting.number, waiting.number * takes / left)
        slots += min(wanted, limits.get(name, wanted))
        due, running, longest = due + waiting.number, running + runs, max(longest, wait)
        work += rate * takes
    total_rate = sum((arrivals.get(name, 0.0) for name in queues), 0.0)
    known = [running_times.get(name, unknown) for name in queues]
    return Demand(
        workers_wanted=ceil(slots / slots_per_worker),
        slots_wanted=slots,
        slots_per_worker=slots_per_worker,
        target_wait=target_wait,
        due=due,
        running=running,
        oldest_wait=longest,
        arrivals_per_second=total_rate,
        seconds_per_record=work / total_rate if total_rate else _mean(known) if known else 0.0,
    )


def running_times(sample: Iterable[QueuedTaskRecord], *, now: datetime) -> dict[str, float]:
    """
    Return the average time, in seconds, that the records of each queue run.

    Records that run now count with their time so far, if that is longer than the average of those that have ended.
    """
    ended: defaultdict[str, list[float]] = defaultdict(list)
    so_far: defaultdict[str, list[float]] = defaultdict(list)
    for record in sample:
        if record.started_at is None:
            continue
        if record.finished_at is not None:
            ended[record.queue].append((record.finished_at - record.started_at).total_seconds())
        elif record.status is TaskStatus.RUNNING:
            so_far[record.queue].append((now - record.started_at).total_seconds())
    found: dict[str, float] = {}
    for name in {*ended, *so_far}:
        average = _mean(ended[name]) if ended[name] else 0.0
        found[name] = max(0.0, _mean([*ended[name], *(each for each in so_far[name] if each > average)] or [average]))
    return found


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)  # Importing statistics for its fmean takes 2 ms.


def _arrivals(newest: Sequence[QueuedTaskRecord], *, now: datetime) -> dict[str, float]:
    """Return how many records per second arrive in each queue to be run at once."""
    ages = [(now - record.created_at).total_seconds() for record in newest]
    is_whole = len(newest) < SAMPLE or max(ages) > WINDOW
    span = WINDOW if is_whole else max(*ages, SHORTEST_SPAN)
    numbers: defaultdict[str, int] = defaultdict(int)
    for record, age in zip(newest, ages, strict=True):
        numbers[record.queue] += age <= WINDOW and record.scheduled_at <= now
    return {name: number / span for name, number in numbers.items()}


def _limits(states: Mapping[str, QueueState]) -> dict[str, int]:
    return {
        name: state.limits.concurrency
        for name, state in states.items()
        if state.limits is not None and state.limits.concurrency is not None
    }
