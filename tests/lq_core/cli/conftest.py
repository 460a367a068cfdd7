"""An application in its own folder. Its execution backend needs no other package."""

from pathlib import Path

import pytest

SHOP = """
import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from lq_core import InProcessExecutionBackend, QueueConfig, execution_backend, task


@execution_backend("here")
class Here(InProcessExecutionBackend):
    async def execute(self, service, record, *, worker_id=None):
        return await service.execute_record(record, worker_id=worker_id)


@task(name="shop.send", queue="mail")
async def send(number: int) -> str:
    return f"sent {number}"


@task(name="shop.wait")
async def wait() -> str:
    print("waiting", flush=True)
    while not Path("gate").exists():
        await asyncio.sleep(0.01)  # A file has no event to wait for.
    return "through the gate"


@task(name="shop.hold")
async def hold() -> None:
    print("holding", flush=True)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("not I", flush=True)


queue = QueueConfig(execution_backend="here", heartbeat_interval=0.2, poll_interval=0.1)
number = 5


def make() -> QueueConfig:
    return queue


async def make_later() -> QueueConfig:
    await asyncio.sleep(0)
    return queue


@asynccontextmanager
async def opened() -> AsyncGenerator[QueueConfig]:
    loop = asyncio.get_running_loop()
    print("opened", file=sys.stderr)
    yield queue
    print("closed in the same loop:", asyncio.get_running_loop() is loop, file=sys.stderr)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path
