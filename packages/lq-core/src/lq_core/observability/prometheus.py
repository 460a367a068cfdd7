"""Metrics in the format of Prometheus; needs the extra ``prometheus``."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import cache

from msgspec import Struct
from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lq_core.attempts.metrics import BOUNDS
from lq_core.foundation.duration import Duration
from lq_core.queue.messages import Statistics
from lq_core.records.outcome import outcome_of
from lq_core.records.record import QueuedTaskRecord
from lq_core.records.waiting import waiting_since
from lq_core.service import QueueService
from lq_core.service.demand import TARGET_WAIT
from lq_core.tasks.context import TaskContext
from lq_core.tasks.middleware import Proceed


class PrometheusMetrics(Collector):
    """
    A middleware that measures attempts, and the numbers of the whole queue at each scrape.

    ``QueueConfig(middleware=(metrics,))`` measures the attempts of this process. ``await metrics.exposition(service)``
    is the answer to a scrape; every process gives the same numbers for the queue, so scrape one of them, or take the
    maximum. *registry* is that of the application; None makes one of its own. ``lq_workers_wanted`` is the number of
    workers that start due records within *target_wait* seconds; see :class:`lq_core.Demand`.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, target_wait: Duration = TARGET_WAIT) -> None:
        self._target_wait = target_wait
        self.registry = registry or CollectorRegistry()
        self._attempts = Histogram(
            "lq_attempt_seconds",
            "Duration of attempts, from the start to the recorded outcome.",
            ("task", "outcome"),
            buckets=BOUNDS,
            registry=self.registry,
        )
        self._waits = Histogram(
            "lq_wait_seconds",
            "Time from when a record was due to the start of an attempt.",
            ("queue",),
            buckets=BOUNDS,
            registry=self.registry,
        )
        # To look up a child takes longer than to count with it.
        self._attempts_of = cache(self._attempts.labels)
        self._waits_of = cache(self._waits.labels)
        self._running = Gauge("lq_running", "Attempts that run in this process.", registry=self.registry)
        self._lag = Gauge(
            "lq_loop_lag_seconds",
            "The longest delay of the event loop at the start of an attempt, since the last scrape.",
            registry=self.registry,
        )
        self._longest_lag = 0.0
        self._queue = QueueNumbers()
        self.registry.register(self)

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        """Measure one attempt."""
        record, began = context.record, time.perf_counter()
        asyncio.get_running_loop().call_soon(self._came_round, began)
        if record.started_at is not None:
            waited = record.started_at - waiting_since(record)
            self._waits_of(record.queue).observe(max(0.0, waited.total_seconds()))
        self._running.inc()
        try:
            after = await proceed()
        finally:
            self._running.dec()
        self._attempts_of(record.task_name, outcome_of(record, after)).observe(time.perf_counter() - began)
        return after

    async def exposition(self, service: QueueService) -> bytes:
        """Read the numbers of the queue, and write all metrics as text. Raises StorageError."""
        statistics, workers = await service.statistics(), await service.workers()
        now, timeout = service.queue_backend.now(), timedelta(seconds=service.config.heartbeat_timeout)
        alive = [one for one in workers if one.execution_backends and one.seen_at > now - timeout]
        demand = await service.demand(target_wait=self._target_wait, statistics=statistics)
        waited = (now - statistics.oldest_due).total_seconds() if statistics.oldest_due else 0.0
        self._queue = QueueNumbers(
            statistics=statistics,
            oldest_ready=max(0.0, waited),
            workers=len(alive),
            slots=sum(one.concurrency for one in alive),
            workers_wanted=demand.workers_wanted,
        )
        self._lag.set(self._longest_lag)
        self._longest_lag = 0.0
        return generate_latest(self.registry)

    def _came_round(self, asked_at: float) -> None:
        self._longest_lag = max(self._longest_lag, time.perf_counter() - asked_at)

    def collect(self) -> Iterator[Metric]:
        """Yield the numbers of the queue as the last :meth:`exposition` read them."""
        numbers = self._queue
        if numbers.statistics is None:
            return
        records = GaugeMetricFamily("lq_records", "Records by queue and status.", labels=("queue", "status"))
        for queue, counts in numbers.statistics.counts.items():
            for status, count in counts.items():
                records.add_metric((queue, status), count)
        yield records
        yield GaugeMetricFamily(
            "lq_oldest_ready_seconds", "How long the oldest ready record has waited.", value=numbers.oldest_ready
        )
        yield GaugeMetricFamily("lq_workers", "Workers that are alive.", value=numbers.workers)
        yield GaugeMetricFamily("lq_worker_slots", "Records that all workers can run at once.", value=numbers.slots)
        yield GaugeMetricFamily(
            "lq_workers_wanted", "Workers that the queues need, for an autoscaler.", value=numbers.workers_wanted
        )


class QueueNumbers(Struct, frozen=True, kw_only=True):
    """The numbers of the whole queue at one moment."""

    statistics: Statistics | None = None
    oldest_ready: float = 0.0
    workers: int = 0
    slots: int = 0
    workers_wanted: int = 0
