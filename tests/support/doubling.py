"""A Litestar application that doubles numbers in a task, and its requests."""

from uuid import UUID

from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.plugins import PluginProtocol
from litestar.testing import TestClient

from lq_core import QueuedTaskRecord, QueueService, task


@task(name="plugin.double")
async def double(number: int) -> int:
    return 2 * number


@post("/double/{number:int}")
async def enqueue_double(number: FromPath[int], queue_service: NamedDependency[QueueService]) -> UUID:
    return (await queue_service.enqueue(double, number)).id


@get("/records/{record_id:uuid}")
async def read(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> QueuedTaskRecord | None:
    return await queue_service.get(record_id)


@get("/results/{record_id:uuid}")
async def wait(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> str | None:
    return (await queue_service.wait(record_id, timeout=10)).result


@post("/tasks/{name:str}")
async def enqueue_by_name(
    name: FromPath[str], number: FromQuery[str], queue_service: NamedDependency[QueueService]
) -> UUID:
    return (await queue_service.enqueue_by_name(name, number)).id


def application(*plugins: PluginProtocol) -> Litestar:
    return Litestar([enqueue_double, read, wait, enqueue_by_name], plugins=plugins)


def double_over_http(client: TestClient[Litestar], number: int) -> str:
    record_id: str = client.post(f"/double/{number}").json()
    return client.get(f"/results/{record_id}").text
