"""The plugin for a configuration with several stores."""

from pathlib import Path

from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.testing import AsyncTestClient

from lq_core import QueueConfig, QueueService, RoutedQueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin
from lq_web import WebConfig


@task(name="plugin_stores.double")
async def double(number: int) -> int:
    return 2 * number


@task(name="plugin_stores.triple", queue="bulk")
async def triple(number: int) -> int:
    return 3 * number


@post("/{number:int}")
async def both(number: FromPath[int], queue_service: NamedDependency[QueueService]) -> list[int]:
    sent = [await queue_service.enqueue(each, number) for each in (double, triple)]
    assert isinstance(queue_service, RoutedQueueService)
    results = [await one.wait(timeout=10) for one in sent]
    return results + [await store.count() for store in queue_service.stores.values()]


async def test_requests_and_the_in_app_worker_use_all_stores(tmp_path: Path) -> None:
    main, other = (SQLiteConfig(path=tmp_path / f"{name}.db") for name in ("main", "other"))
    config = QueueConfig(queue_backend=main, stores={"other": other}, routes={"bulk": "other"}, poll_interval=0.1)
    plugin = QueuePlugin(config, web=WebConfig(open_to_everyone=True))

    async with AsyncTestClient(Litestar([both, plugin.probes()], plugins=[plugin])) as client:
        answer = await client.post("/7")
        ready, page = await client.get("/readyz"), await client.get(f"{WebConfig(open_to_everyone=True).path}/records")

    assert answer.json() == [14, 21, 1, 1]
    assert ready.status_code == 200
    assert "plugin_stores.double" in page.text
    assert "plugin_stores.triple" not in page.text
