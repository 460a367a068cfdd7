"""
Keeps a Cloud Run job within its quota: a rate that adapts, a breaker, and a cap on the records in flight.

All workers share these limits. A refusal for the quota halves the rate, and each accepted run raises it a little.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Final

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions.target import Targets
from lq_cloudrun.google.refusal import Refusal
from lq_core.execution import ExecutionService
from lq_core.queue import RecordFilter, WorkerInfo
from lq_core.records.record import OWNED

SLOWEST: Final = 1.0
"""The lowest rate, in executions per minute."""

BURST_SECONDS: Final = 15.0
"""After a rest, the runs of this many seconds may start at once."""

SHORTEST: Final = 1.0
"""The fewest seconds that a record rests whose call was refused."""

LONGEST: Final = 600.0
"""The most seconds that a record is put off."""


@dataclass
class Pacer:
    """The limits of one job. *now* is the time of any clock that does not go back."""

    config: CloudRunExecutionConfig
    rate: float = field(init=False)
    """The current rate of all workers together, in executions per minute."""

    in_flight: int = 0
    """Records in flight: the last count, and the records dispatched since."""

    sharers: int = 1
    """How many workers share the rate and the room."""

    def __post_init__(self) -> None:
        self.rate = self.config.pace
        self._tokens = self._burst
        self._filled_at: float | None = None
        self._closed_until = 0.0
        self._failures = 0
        self._misconfigured_at: float | None = None
        """When the job was first refused as it is, with no run accepted since."""

        self._counted_at = float("-inf")
        """When a refusal was last counted; those of calls that began before are of the same burst."""

        self._last_turn = 0.0

    def room(self, now: float) -> int:
        """Return how many executions may start now."""
        self._fill(now)
        if now < self._closed_until:
            return 0
        # Rounded up, or the last places would stay empty.
        free = ceil(max(0, self.config.max_in_flight - self.in_flight) / self.sharers)
        # After a refusal, one run tests whether the job works again.
        return min(free, 1 if self._failures else int(self._tokens))

    def wait(self, now: float) -> float:
        """Return in how many seconds an execution may start; 0 if one may start now."""
        self._fill(now)
        if now < self._closed_until:
            return self._closed_until - now
        if self.is_full:
            return self.config.poll_interval
        return max(0.0, (1 - self._tokens) * 60 / self._share)

    def put_off(self, now: float) -> float:
        """
        Return in how many seconds to try a record again that may not start now: each record after the one before.

        Records come back no faster than the rate can rise and places can become free. Otherwise the records of a full
        job would be reserved and released again and again, while another job has room.
        """
        fastest = max(60 / self._ceiling, self.config.poll_interval / self.config.max_in_flight)
        self._last_turn = min(max(self._last_turn, now) + fastest * self.sharers, now + LONGEST)
        return max(self._last_turn - now, self.wait(now))

    def reason(self, now: float) -> str:
        """Say why nothing may start now."""
        if now < self._closed_until:
            return f"it was refused, and is tried again in {self._closed_until - now:.0f} s"
        if self.is_full:
            return f"{self.in_flight} of its records are in flight, which is max_in_flight"
        return f"its rate is {self.rate:.0f} per minute"

    def take(self, now: float) -> None:
        """Count one execution that is about to start."""
        self._fill(now)
        self._tokens -= 1
        self.in_flight += 1

    def accepted(self) -> None:
        """Raise the rate a little, because Cloud Run has accepted a run."""
        self._failures, self._misconfigured_at = 0, None
        self.rate = min(self.rate + 0.5, self._ceiling)

    def slow_down(self, now: float) -> float:
        """
        Halve the rate, because the quota is used up, and return how many seconds to wait.

        Calls that were under way together are refused together, so that the first of them slows the rate for all.
        """
        self._fill(now)
        self.in_flight -= 1
        if now < self._closed_until:
            return self._closed_until - now
        self._counted_at = now
        self.rate = max(self.rate / 2, SLOWEST)
        self._tokens = min(self._tokens, 0.0)
        pause = 60 / self.rate
        self._closed_until = max(self._closed_until, now + pause)
        return pause

    def close(self, now: float) -> float:
        """
        Start nothing for a while, because the job refuses, and return for how many seconds.

        Calls that were under way together are refused together, and count once.
        """
        self.in_flight -= 1
        if now < self._closed_until:
            return self._closed_until - now
        pause = min(self.config.breaker_pause * 2.0**self._failures, self.config.max_breaker_pause)
        self._counted_at = now
        self._failures = min(self._failures + 1, 20)
        self._closed_until = max(self._closed_until, now + pause)
        return pause

    def refused(self, refusal: Refusal, now: float, *, began: float, falls_back: bool = False) -> float:
        """
        Count a call that *began* then and failed now, and return how many seconds the job rests.

        Calls that were under way at a refusal do not count again, however late their answers arrive.

        A misconfigured job rests, too, so that a second look follows: permissions and jobs take minutes to appear
        everywhere. At the second look, and until a run is accepted, it does not rest for a record that *falls_back*.
        """
        match refusal:
            case Refusal.UNKNOWN:
                return 0  # The execution may exist: it counts.
            case _ if began <= self._counted_at:
                self.in_flight -= 1
                return max(self._closed_until - now, SHORTEST)
            case Refusal.TOO_FAST:
                return self.slow_down(now)
            case Refusal.REFUSED:
                return self.close(now)
            case Refusal.MISCONFIGURED:
                first = self._misconfigured_at = now if self._misconfigured_at is None else self._misconfigured_at
                if not falls_back or now < first + self.config.breaker_pause:
                    return self.close(now)
                self._failures = 0
                self.forget()
                return 0

    def forget(self) -> None:
        """Undo :meth:`take` for an execution that was not started after all."""
        self._tokens += 1
        self.in_flight -= 1

    @property
    def is_full(self) -> bool:
        """Whether as many records are with Cloud Run as may be."""
        return self.in_flight >= self.config.max_in_flight

    @property
    def _ceiling(self) -> float:
        return max(self.config.max_runs_per_minute, self.config.pace)

    @property
    def _burst(self) -> float:
        return max(1.0, self._share * BURST_SECONDS / 60)

    @property
    def _share(self) -> float:
        return self.rate / self.sharers

    def _fill(self, now: float) -> None:
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._share / 60)
        self._filled_at = now


class Pacers:
    """One pacer for each job, kept up to date. *name* is the execution backend that the records name."""

    def __init__(self, config: CloudRunExecutionConfig, *, name: str, targets: Targets) -> None:
        self.name = name
        self._config = config
        self._targets = targets
        self.by_job: defaultdict[str, Pacer] = defaultdict(lambda: Pacer(config))

    def room(self, now: float) -> int:
        """Return how many records may be dispatched now, to the job that has the most room."""
        return max(self.by_job[job].room(now) for job in self._targets.jobs())

    async def share(self, service: ExecutionService) -> None:
        """Divide the rate and the room by the number of live workers that dispatch to Cloud Run."""
        sharers = sum(self.name in worker.execution_backends for worker in await live_workers(service))
        for job in self._targets.jobs():
            self.by_job[job].sharers = max(sharers, 1)

    async def count(self, service: ExecutionService) -> None:
        """Count the records in flight over all workers, right before a worker claims more."""
        jobs = self._targets.jobs()
        condition = RecordFilter(statuses=tuple(sorted(OWNED)), execution_backends=(self.name,), external=True)
        counts, page, before = Counter[str | None](), len(jobs) * self._config.max_in_flight + 1, None
        while records := await service.queue_backend.find(condition, limit=page, before=before):
            counts.update(map(self._targets.job_of, records))
            before = records[-1].id
            if len(records) < page:
                break
        for job in jobs:
            self.by_job[job].in_flight = counts[job]


async def live_workers(service: ExecutionService) -> Sequence[WorkerInfo]:
    """Read the workers that have sent a heartbeat within two intervals. Containers are among them."""
    limit = service.queue_backend.now() - timedelta(seconds=2 * service.config.heartbeat_interval)
    return [worker for worker in await service.queue_backend.workers() if worker.seen_at >= limit]
