"""Enqueuing when the response has been sent."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from litestar import Litestar, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.testing import TestClient

from lq_core import QueueConfig, QueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin, enqueue_after_response


@task(name="after.greet")
async def greet(number: int) -> str:
    return f"hello {number}"


@post("/greet/{number:int}")
async def enqueue_greet(number: FromPath[int], queue_service: NamedDependency[QueueService]) -> Response[int]:
    before = len(await queue_service.find())
    return Response(before, background=enqueue_after_response(queue_service, greet, number))


@post("/wrong")
async def enqueue_wrong(queue_service: NamedDependency[QueueService]) -> Response[None]:
    return Response(None, background=enqueue_after_response(queue_service, greet, "one"))  # pyright: ignore[reportArgumentType] -- the mistake to be found


REFUSED = {
    "large": greet,
    "nowhere": greet.using(execution_backend="nobody-knows"),
    "keyless": greet.using(key_window=60),
}


@post("/refused/{case:str}/{number:int}")
async def enqueue_refused(
    case: FromPath[str], number: FromPath[int], queue_service: NamedDependency[QueueService]
) -> Response[None]:
    return Response(None, background=enqueue_after_response(queue_service, REFUSED[case], number))


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    return QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"))


def test_the_call_is_stored_after_the_response(config: QueueConfig) -> None:
    with TestClient(Litestar([enqueue_greet], plugins=[QueuePlugin(config, worker=False)])) as client:
        assert client.post("/greet/7").json() == 0

    async def arguments() -> list[str]:
        async with QueueService(config) as service:
            return [record.arguments for record in await service.find()]

    assert asyncio.run(arguments()) == ['{"number":7}']


def test_a_wrong_argument_is_found_before_the_response(config: QueueConfig) -> None:
    with TestClient(Litestar([enqueue_wrong], plugins=[QueuePlugin(config, worker=False)])) as client:
        assert client.post("/wrong").status_code == 500


@pytest.mark.parametrize("path, status", [("large/12345678901234", 413), ("nowhere/1", 500), ("keyless/1", 500)])
def test_an_invalid_call_is_refused_before_the_response(config: QueueConfig, path: str, status: int) -> None:
    plugin = QueuePlugin(replace(config, max_payload_bytes=20), worker=False)
    with TestClient(Litestar([enqueue_refused], plugins=[plugin])) as client:
        assert client.post(f"/refused/{path}").status_code == status
