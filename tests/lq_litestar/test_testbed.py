"""The tests of an application see the records that its handlers enqueue, and decide when they run."""

from litestar import Litestar, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.testing import AsyncTestClient

from lq_core import QueueConfig, QueueService, TaskStatus, task
from lq_core.testing import QueueTestbed
from lq_core.testing.fixtures import queue_testbed
from lq_litestar import QueuePlugin

__all__ = ["queue_testbed"]


@task(name="office.welcome")
async def welcome(name: str) -> str:
    return f"Welcome, {name}."


@post("/users/{name:str}")
async def register(name: FromPath[str], queue_service: NamedDependency[QueueService]) -> None:
    await queue_service.enqueue(welcome.using(delay=60), name)


def make_app(config: QueueConfig) -> Litestar:
    return Litestar([register], plugins=[QueuePlugin(config, worker=False)])


async def test_the_records_of_a_handler_are_asserted_and_drained(queue_testbed: QueueTestbed) -> None:
    async with AsyncTestClient(make_app(queue_testbed.config)) as client:
        answer = await client.post("/users/ada")

        assert answer.status_code == 201
        queue_testbed.assert_enqueued(welcome.using(delay=60), "ada")
        assert await queue_testbed.drain() == {}
        assert await queue_testbed.drain(within=60) == {TaskStatus.COMPLETED: 1}
