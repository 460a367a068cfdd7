"""The queue opens and closes with the application, in the event loop in which this runs, while tasks still run."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest
from litestar import Litestar
from litestar.testing import TestClient

from doubling import application, double, double_over_http, enqueue_double
from lq_core import INJECTED, ConfigurationError, QueueConfig, QueueService, StorageError, per_worker, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin


class Rates(NamedTuple):
    usd: int


@task(name="plugin.convert")
async def convert(number: str, rates: Rates = INJECTED) -> int:
    return int(number) * rates.usd


def in_process(app: Litestar) -> httpx.ASGITransport:
    return httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words


def convert_over_http(client: TestClient[Litestar], number: int) -> str:
    record_id: str = client.post("/tasks/plugin.convert", params={"number": str(number)}).json()
    return client.get(f"/results/{record_id}").text


def test_values_per_worker_are_open_while_the_application_runs(config: QueueConfig) -> None:
    diary: list[str] = []

    @per_worker
    async def rates() -> AsyncGenerator[Rates, None]:
        diary.append("opened")
        yield Rates(usd=2)
        diary.append("closed")

    with TestClient(application(QueuePlugin(replace(config, providers=(rates,))))) as client:
        diary.append(convert_over_http(client, 3))
        diary.append(convert_over_http(client, 4))

    assert diary == ["opened", "6", "8", "closed"]


async def test_it_works_in_the_event_loop_of_the_test(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    app = application(plugin)

    async with app.lifespan(), httpx.AsyncClient(transport=in_process(app), base_url="http://here") as client:
        record_id: str = (await client.post("/double/21")).json()
        record = await plugin.service.wait(UUID(record_id), timeout=10)

    assert record.result == "42"


def test_one_plugin_serves_one_test_client_after_another(config: QueueConfig) -> None:
    app = application(QueuePlugin(config))

    with TestClient(app) as client:
        record_id: str = client.post("/double/1").json()
        assert client.get(f"/results/{record_id}").text == "2"
    with TestClient(app) as client:
        assert client.get(f"/records/{record_id}").json()["status"] == "completed"
        assert double_over_http(client, 2) == "4"


async def test_one_plugin_serves_two_event_loops_at_once(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    one, other = application(plugin), application(plugin)

    async def doubled(number: int) -> int:
        async with other.lifespan():
            return await (await plugin.service.enqueue(double, number)).wait(timeout=10)

    async with one.lifespan():
        assert await asyncio.to_thread(asyncio.run, doubled(1)) == 2
        assert await (await plugin.service.enqueue(double, 2)).wait(timeout=10) == 4


async def test_two_applications_may_share_one_plugin(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    one, other = application(plugin), application(plugin)

    async with one.lifespan():
        async with other.lifespan():
            assert await (await plugin.service.enqueue(double, 1)).wait(timeout=10) == 2
        assert await (await plugin.service.enqueue(double, 2)).wait(timeout=10) == 4


def test_with_the_worker_off_records_wait_for_another_process(config: QueueConfig) -> None:
    with TestClient(application(QueuePlugin(config, worker=False))) as client:
        record_id: str = client.post("/double/21").json()

    async def workers_and_status() -> tuple[int, str]:
        async with QueueService(config) as queue:
            record = await queue.get(UUID(record_id))
            assert record
            return len(await queue.workers()), record.status

    assert asyncio.run(workers_and_status()) == (0, "pending")


def test_a_client_without_a_lifespan_gets_an_error_with_advice(config: QueueConfig) -> None:
    client = TestClient(Litestar([enqueue_double], plugins=[QueuePlugin(config)], debug=True))

    assert "with TestClient(app) as client" in client.post("/double/1").text


async def test_a_queue_that_cannot_be_opened_stops_the_start_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("not a database, but long enough to be taken for one" * 100)
    broken = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "letter.db"))

    with pytest.RaisesGroup(pytest.RaisesExc(StorageError, match="is not an SQLite database")):
        await application(QueuePlugin(broken)).lifespan().__aenter__()


def test_the_lifespan_of_the_user_contains_the_lifespan_of_the_queue(config: QueueConfig) -> None:
    seen: list[str] = []
    plugin = QueuePlugin(config)

    @asynccontextmanager
    async def database(_: Litestar) -> AsyncGenerator[None, None]:
        seen.append("database opened")
        yield
        with pytest.raises(ConfigurationError):
            repr(plugin.service)
        seen.append("database closed after the queue")

    with TestClient(Litestar([], plugins=[plugin], lifespan=[database])):
        seen.append("running")

    assert seen == ["database opened", "running", "database closed after the queue"]


async def test_a_task_may_use_the_service_while_the_application_stops(config: QueueConfig) -> None:
    begun, opened = asyncio.Event(), asyncio.Event()
    plugin = QueuePlugin(config)

    @task(name="plugin.follow_up")
    async def follow_up() -> None:
        begun.set()
        await opened.wait()
        await plugin.service.enqueue(double, 4)

    async with application(plugin).lifespan():
        sent = await plugin.service.enqueue(follow_up)
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, opened.set)  # The application is stopping by then.

    async with QueueService(config) as service:
        assert await service.get(sent.id)
        assert [record.task_name for record in await service.find()] == ["plugin.double", "plugin.follow_up"]
