"""Metrics and probes, as a monitoring system reads them."""

import asyncio
import time
from collections.abc import AsyncGenerator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lq_core import NonRetryable, QueueConfig, QueueService, task
from lq_core.observability.probes import probes
from lq_core.observability.prometheus import PrometheusMetrics
from lq_core.observability.status_server import StatusServer
from lq_core.testing import QueueTestbed


@task(name="measured.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="measured.break", queue="print")
async def break_down() -> None:
    raise NonRetryable("no paper")


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics()


@pytest.fixture
async def bed(metrics: PrometheusMetrics) -> AsyncGenerator[QueueTestbed]:
    async with QueueTestbed(QueueConfig(middleware=(metrics,))) as bed:
        yield bed


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Return the samples of an exposition by name and the sorted values of their labels."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_attempts_and_the_queue_are_measured(bed: QueueTestbed, metrics: PrometheusMetrics) -> None:
    await bed.service.enqueue_many([greet.call("Ada"), greet.call("Grace")])
    await bed.service.enqueue(break_down)
    bed.advance(7)
    await bed.drain()
    await bed.service.enqueue(greet, "Alan")
    bed.advance(3)

    found = samples(await metrics.exposition(bed.service))

    assert found["lq_attempt_seconds_count", "completed", "measured.greet"] == 2
    assert found["lq_attempt_seconds_count", "failed", "measured.break"] == 1
    assert found["lq_wait_seconds_sum", "mail"] == 14
    assert found["lq_records", "completed", "mail"] == 2
    assert found["lq_records", "mail", "pending"] == 1
    assert found["lq_records", "failed", "print"] == 1
    assert found["lq_oldest_ready_seconds",] == 3
    assert found["lq_running",] == 0


@task(name="measured.block")
async def block() -> None:
    time.sleep(0.05)  # noqa: ASYNC251 -- the blocked event loop is the test


async def test_a_blocked_event_loop_is_measured_until_the_next_scrape(
    bed: QueueTestbed, metrics: PrometheusMetrics
) -> None:
    await bed.service.enqueue(block)
    await bed.drain()

    first, second = [samples(await metrics.exposition(bed.service)) for _ in range(2)]

    assert (first["lq_loop_lag_seconds",] >= 0.05, second["lq_loop_lag_seconds",]) == (True, 0)


async def fetch(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    def now() -> tuple[int, str]:
        try:
            with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(now)


async def test_probes_and_scrapes_are_answered(bed: QueueTestbed, metrics: PrometheusMetrics) -> None:
    async with StatusServer("127.0.0.1", 0, probes(bed.service, metrics=metrics)) as server:
        assert await fetch(server.port, "/healthz") == (200, "alive\n")
        assert await fetch(server.port, "/readyz?verbose") == (200, "ready\n")
        assert await fetch(server.port, "/healthz", "HEAD") == (200, "")
        code, text = await fetch(server.port, "/metrics")
        assert code == 200
        assert "lq_workers 0.0" in text
        assert (await fetch(server.port, "/elsewhere"))[0] == 404
        assert (await fetch(server.port, "/healthz", "POST"))[0] == 405


async def test_a_process_without_its_database_is_alive_but_not_ready() -> None:
    service = QueueService(QueueConfig(queue_backend="memory"))  # Never opened.

    async with StatusServer("127.0.0.1", 0, probes(service)) as server:
        assert (await fetch(server.port, "/healthz"))[0] == 200
        code, text = await fetch(server.port, "/readyz")

    assert code == 503
    assert "not open" in text


async def test_a_client_that_sends_nonsense_does_no_harm(bed: QueueTestbed) -> None:
    async with StatusServer("127.0.0.1", 0, probes(bed.service)) as server:
        for nonsense in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"G" * 100_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(nonsense)
            writer.write_eof()
            await reader.read()
            writer.close()
        assert (await fetch(server.port, "/healthz"))[0] == 200
