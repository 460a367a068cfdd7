"""Tasks of the in-app worker run between the hooks of the application: after its startup, before its shutdown."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from litestar import Litestar, post
from litestar.config.app import AppConfig
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.plugins import InitPlugin
from litestar.testing import TestClient

from lq_core import INJECTED, QueueConfig, QueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin


@task(name="hooks.note")
async def note(word: str, *, app: Litestar = INJECTED) -> None:
    app.state.log.append(f"{word} while {app.state.phase}")


@task(name="hooks.last")
async def last(*, app: Litestar = INJECTED) -> None:
    app.state.started.set()
    try:
        await asyncio.sleep(60)  # Runs until it is stopped.
    finally:
        app.state.log.append(f"stopped while {app.state.phase}")


@post("/last")
async def enqueue_last(queue_service: NamedDependency[QueueService], state: State) -> None:
    await queue_service.enqueue(last)
    await state.started.wait()


async def start(app: Litestar) -> None:
    app.state.phase = "starting"
    await asyncio.sleep(0.05)  # A worker that did not wait for the hooks would run the record now.
    app.state.phase = "open"


class Database(InitPlugin):
    """A plugin that closes with the application, as those of databases do."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.lifespan.append(self._lifespan)  # pyright: ignore[reportUnknownMemberType] -- Litestar leaves the context manager open
        return app_config

    @asynccontextmanager
    async def _lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        yield
        app.state.phase = "closing"


class WithDatabase(InitPlugin):
    """A plugin that adds another one to the end of the list, as Advanced Alchemy does."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        app_config.plugins.append(Database())
        return app_config


async def end(app: Litestar) -> None:
    app.state.phase = "closed"


def test_tasks_run_after_the_startup_and_stop_before_the_shutdown(tmp_path: Path) -> None:
    config = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"), shutdown_grace=0.1)

    async def before() -> None:
        async with QueueService(config) as queue:
            await queue.enqueue(note, "ran")

    asyncio.run(before())
    app = Litestar(
        [enqueue_last],
        plugins=[QueuePlugin(config)],
        on_startup=[start],
        on_shutdown=[end],
        state=State({"log": [], "phase": "new", "started": asyncio.Event()}),
    )
    with TestClient(app) as client:
        client.post("/last")

    assert app.state.log == ["ran while open", "stopped while open"]


@pytest.mark.parametrize("before, after", [([WithDatabase()], []), ([], [Database()]), ([], [WithDatabase()])])
def test_the_worker_stops_before_other_plugins_close_wherever_they_are(
    tmp_path: Path, before: list[InitPlugin], after: list[InitPlugin]
) -> None:
    config = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"), shutdown_grace=0.1)
    other = QueuePlugin(QueueConfig(queue_backend="memory"), dependency_key="other")
    app = Litestar(
        [enqueue_last],
        plugins=[other, *before, QueuePlugin(config), *after],
        state=State({"log": [], "phase": "open", "started": asyncio.Event()}),
    )
    with TestClient(app) as client:
        client.post("/last")

    assert app.state.log == ["stopped while open"]
