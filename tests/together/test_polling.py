"""Wake-ups are hints: without any, work is found by looking."""

from uuid import uuid4

from lq_core import QueueConfig, QueueService, Worker, task
from lq_postgres import PostgresConfig
from servers import PostgresServer


@task(name="polling.greet")
async def greet(name: str) -> str:
    return f"hello, {name}"


async def test_work_is_found_without_any_wake_up(postgres: PostgresServer) -> None:
    deaf = PostgresConfig(dsn=postgres.create_database(f"polling_{uuid4().hex}"), poll_only=True)
    config = QueueConfig(queue_backend=deaf, poll_interval=0.2)
    async with QueueService(config) as here, QueueService(config) as there, Worker(there):
        await (await here.enqueue(greet, "first")).wait(timeout=10)

        assert await (await here.enqueue(greet, "world")).wait(timeout=10) == "hello, world"
