"""With many workers, one at a time reads the executions of a job."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import container_tasks as shop
from cloud import Cloud, cloud
from lq_cloudrun import CloudRunExecutionBackend
from lq_cloudrun.dispatch.reader_turns import has_turn
from lq_core import QueueConfig, QueueService, Worker
from lq_core.contracts.records import a_worker
from lq_core.presence.presence import Presence

WORKERS: Final = 3


@asynccontextmanager
async def several_workers(
    queue: QueueConfig, address: str, **settings: Any
) -> AsyncGenerator[tuple[Cloud, dict[QueueService, Presence]]]:
    """Register workers of services of their own. They look only when the test tells them to."""
    async with cloud(queue, address, **settings) as sky, AsyncExitStack() as stack:
        services = [await stack.enter_async_context(QueueService(sky.service.config)) for _ in range(WORKERS)]
        workers = {each: each.new_presence(execution_backends=("cloudrun",), concurrency=1) for each in services}
        for presence in workers.values():
            await presence.start()
        yield sky, workers


async def backend_of(service: QueueService) -> CloudRunExecutionBackend:
    backend = await service.execution_backend("cloudrun")
    assert isinstance(backend, CloudRunExecutionBackend)
    return backend


async def readers(sky: Cloud, services: Sequence[QueueService]) -> list[QueueService]:
    """Let each service reconcile all records, and return those that have listed executions."""
    records = await sky.service.find()
    found: list[QueueService] = []
    for service in services:
        before = sky.emulator.calls("ListExecutions")
        await (await backend_of(service)).reconcile_many(service, records)
        found += [service] * (sky.emulator.calls("ListExecutions") - before)
    return found


async def dispatched(sky: Cloud) -> None:
    """Dispatch two records to executions."""
    backend = await sky.backend()
    for number in range(2):
        sent = await sky.service.enqueue(shop.add, number, second=1)
        assert await backend.dispatch(sky.service, sent.record)


async def test_of_many_workers_one_lists_the_executions_of_a_job(queue: QueueConfig, address: str) -> None:
    async with several_workers(queue, address) as (sky, workers):
        with sky.emulator.faults.hold_starts("shop"):
            await dispatched(sky)

            assert len(await readers(sky, list(workers))) == 1


async def test_when_the_reader_of_a_job_stops_another_worker_reads(queue: QueueConfig, address: str) -> None:
    async with several_workers(queue, address) as (sky, workers):
        with sky.emulator.faults.hold_starts("shop"):
            await dispatched(sky)
            [first] = await readers(sky, list(workers))
            await workers[first].close()
            [second] = await readers(sky, [each for each in workers if each is not first])

            assert second is not first


async def test_the_executions_that_one_reader_finds_ended_are_settled(queue: QueueConfig, address: str) -> None:
    job = {"command": ["false"]}
    async with (
        cloud(queue, address, job=job) as sky,
        QueueService(sky.service.config) as other,
        Worker(sky.service),
        Worker(other),
    ):
        sent = await sky.service.enqueue(shop.add.using(max_losses=0), 1, second=2)
        record = await sky.until(sent.record, lambda record: record.has_ended)

        assert "without claiming it" in str(record.error)


async def test_of_many_workers_in_pull_mode_one_starts_executions_and_lists_once(
    queue: QueueConfig, address: str
) -> None:
    async with several_workers(queue, address, dispatch="pull", max_in_flight=50, pull_tasks=1) as (sky, workers):
        with sky.emulator.faults.hold_starts("shop"):
            await sky.service.enqueue_many(shop.add.call(number, second=1) for number in range(20))
            before = sky.emulator.calls("ListExecutions")
            for service in workers:
                await (await backend_of(service)).capacity(service)

            assert (len(sky.emulator.executions()), sky.emulator.calls("ListExecutions") - before) == (1, 1)


async def test_ended_executions_are_not_listed_before_each_start(queue: QueueConfig, address: str) -> None:
    settings: dict[str, Any] = {"dispatch": "pull", "pull_concurrency": 1, "max_in_flight": 1}
    async with cloud(queue, address, **settings) as sky, Worker(sky.service):
        for number in range(3):
            sent = await sky.service.enqueue(shop.add, number, second=1)
            await sent.wait(timeout=60)
            await sky.emulator.wait_until_over(sky.emulator.executions()[-1])

        assert (len(sky.emulator.executions()), sky.emulator.calls("ListExecutions")) == (3, 1)


def test_jobs_are_shared_among_workers_and_change_hands_with_each_term() -> None:
    rivals = [a_worker(name) for name in ("ada", "bob", "cem")]

    def first(job: str, term: int) -> list[str]:
        return [each.id for each in rivals if has_turn(job, rivals, own=frozenset({each.id}), term=term)]

    assert all(len(first(f"job {number}", 1)) == 1 for number in range(50))
    assert {name for number in range(50) for name in first(f"job {number}", 1)} == {"ada", "bob", "cem"}
    assert {name for term in range(50) for name in first("job", term)} == {"ada", "bob", "cem"}


def test_without_any_worker_a_program_reads_itself() -> None:
    assert has_turn("job", [], own=frozenset(), term=1)
    assert not has_turn("job", [a_worker("ada")], own=frozenset(), term=1)
