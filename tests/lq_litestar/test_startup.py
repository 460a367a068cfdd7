"""Tasks of the in-app worker run between the hooks of the application: after its startup, before its shutdown."""

import asyncio
from pathlib import Path

from litestar import Litestar, post
from litestar.datastructures import State
from litestar.di import NamedDependency
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
