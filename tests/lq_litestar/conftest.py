"""An application in its own folder, for the tests that start real servers and commands, and a queue for the others."""

from pathlib import Path

import pytest

from lq_core import QueueConfig
from lq_core.queue.sqlite import SQLiteConfig

APPLICATION = '''
"""A shop whose tasks print where they run, and wait for a test."""

import asyncio
import os
from pathlib import Path
from uuid import UUID

from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from lq_core import QueueConfig, QueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin


@task(name="shop.wait")
async def wait() -> str:
    print("waiting", flush=True)
    while not Path("gate").exists():
        await asyncio.sleep(0.01)  # A file has no event to wait for.
    return "through the gate"


@task(name="shop.meet")
async def meet(me: str, other: str) -> int:
    Path(me).touch()
    while not Path(other).exists():
        await asyncio.sleep(0.01)  # A file has no event to wait for.
    return os.getpid()


@post("/wait")
async def enqueue_wait(queue_service: NamedDependency[QueueService]) -> UUID:
    return (await queue_service.enqueue(wait)).id


@post("/meet")
async def enqueue_meet(queue_service: NamedDependency[QueueService]) -> list[UUID]:
    calls = [meet.call("ada", "bob"), meet.call("bob", "ada")]
    return [result.id for result in await queue_service.enqueue_many(calls)]


@get("/result/{record_id:uuid}")
async def result(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> str | None:
    return (await queue_service.wait(record_id, timeout=20)).result


config = QueueConfig(
    queue_backend=SQLiteConfig(path="shop.db"),
    concurrency=1,
    poll_interval=0.1,
    heartbeat_interval=0.2,
    heartbeat_timeout=2.0,
    shutdown_grace=float(os.environ.get("GRACE", "20")),
)
app = Litestar([enqueue_wait, enqueue_meet, result], plugins=[QueuePlugin(config)])
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop_app.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    return QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"), poll_interval=0.1)
