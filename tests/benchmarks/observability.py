"""
What traces and metrics cost a worker: the throughput that is left with them, ``./dev bench observability``.

Tasks that do nothing show the time for each record. Tasks that wait as long as a request to another service show what
an application notices. If all of them take the same time, twenty records end together and wait for each other.
"""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final

from figures import Figure, show
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from lq_core import Middleware, QueueConfig, QueueService, TaskStatus, Worker, task
from lq_core.observability.opentelemetry import OpenTelemetryMiddleware
from lq_core.observability.prometheus import PrometheusMetrics
from lq_core.queue.sqlite import SQLiteConfig

ROUNDS: Final = 5
GOAL: Final = 0.97
CHANCE: Final = random.Random(7)
WORK: Final = {
    "tasks of 25 to 75 ms": [CHANCE.uniform(0.025, 0.075) for _ in range(800)],
    "tasks of 50 ms": [0.05] * 800,
    "tasks that do nothing": [0.0] * 5_000,
}
"""The seconds of each record."""


class Nowhere(SpanExporter):
    """Takes spans, and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Drop them."""
        return SpanExportResult.SUCCESS


@task(name="observed.fetch")
async def fetch(seconds: float) -> float:
    """Wait as for a request to another service."""
    if seconds:
        await asyncio.sleep(seconds)  # The work of the task.
    return seconds


def measure() -> list[Figure]:
    """Compare the same work without and with each, in turn."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    layers: dict[str, tuple[Middleware, ...]] = {
        "nothing": (),
        "metrics": (PrometheusMetrics(),),
        "traces, without a provider": (OpenTelemetryMiddleware(),),
        "traces": (OpenTelemetryMiddleware(provider),),
        "both": (PrometheusMetrics(), OpenTelemetryMiddleware(provider)),
    }
    figures: list[Figure] = []
    for what, work in WORK.items():
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
        for _ in range(ROUNDS):
            for name, middleware in layers.items():
                times[name].append(asyncio.run(_drain(work, middleware)))
        alone, alone_cpu = (median(column) for column in zip(*times.pop("nothing"), strict=True))
        for name, measured in times.items():
            wall, cpu = (median(column) for column in zip(*measured, strict=True))
            goal = GOAL if work[0] else None
            figures += [
                Figure(f"throughput with {name}, {what}", alone / wall, "times", goal),
                Figure(
                    f"time of the processor for {name}, {what}, 1,000 records",
                    (cpu - alone_cpu) / len(work) * 1e6,
                    "ms",
                ),
            ]
    provider.shutdown()
    return figures


async def _drain(work: Sequence[float], middleware: tuple[Middleware, ...]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        config = QueueConfig(
            queue_backend=SQLiteConfig(path=Path(room) / "lq.db"), middleware=middleware, concurrency=20
        )
        async with QueueService(config) as service:
            results = await service.enqueue_many([fetch.call(seconds) for seconds in work])
            began, spent = perf_counter(), process_time()
            async with Worker(service):
                while (await service.statistics()).total(TaskStatus.COMPLETED) < len(results):  # noqa: ASYNC110 -- no event tells when all are stored
                    await asyncio.sleep(0.005)  # Short compared with the measured time.
                return perf_counter() - began, process_time() - spent


if __name__ == "__main__":
    show(measure())
