"""Clients that fail before the call, after it, or with an answer that cannot be read: nothing is started twice."""

from types import SimpleNamespace
from typing import Any

import pytest

import container_tasks as shop
from cloud import cloud, events_of
from lq_cloudrun import CloudRunExecutionBackend, JobsClient
from lq_core import QueueConfig, QueuedTaskRecord, TaskStatus, Worker
from lq_core.execution import ExecutionService


class Unreadable:
    """A client that makes the call, and returns an answer that cannot be read."""

    def __init__(self, client: JobsClient, answer: object) -> None:
        self._client = client
        self._answer = answer

    async def run_job(self, request: dict[str, Any], *, timeout: float) -> Any:
        await self._client.run_job(request=request, timeout=timeout)
        return self._answer


NO_ANSWER = (None, SimpleNamespace(metadata=None), SimpleNamespace(metadata=SimpleNamespace(name="")))


@pytest.mark.parametrize("answer", NO_ANSWER, ids=("nothing", "no execution", "no name"))
@pytest.mark.parametrize("dispatch", ["each", "pull"])
async def test_after_an_answer_that_cannot_be_read_nothing_is_started_twice(
    queue: QueueConfig, address: str, answer: object, dispatch: str
) -> None:
    async with cloud(queue, address, confirm_after=60, dispatch=dispatch, max_in_flight=1) as sky:
        backend = await sky.backend()
        assert backend.jobs_client is not None
        backend.jobs_client = Unreadable(backend.jobs_client, answer)
        async with Worker(sky.service):
            sent = await sky.service.enqueue(shop.add, 1, second=2)

            assert await sent.wait(timeout=60) == 3
        assert sky.emulator.calls("RunJob") == 1
        assert events_of(await sky.record(sent.record)) == []


class Late:
    """A client that makes the call, and then raises an error of its own."""

    def __init__(self, client: JobsClient) -> None:
        self._client = client

    async def run_job(self, request: dict[str, Any], *, timeout: float) -> Any:
        await self._client.run_job(request=request, timeout=timeout)
        raise ValueError("the answer could not be logged")


async def test_an_error_of_a_client_after_its_call_leaves_the_record_to_its_execution(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, confirm_after=60) as sky:
        backend = await sky.backend()
        assert backend.jobs_client is not None
        backend.jobs_client = Late(backend.jobs_client)
        async with Worker(sky.service):
            sent = await sky.service.enqueue(shop.add, 1, second=2)

            assert await sent.wait(timeout=60) == 3
        assert sky.emulator.calls("RunJob") == 1
        assert events_of(await sky.record(sent.record)) == []


async def test_a_request_that_cannot_be_built_is_refused_before_the_call(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, breaker_pause=60) as sky:
        backend = await sky.backend()

        class Strange(CloudRunExecutionBackend):
            def build_run_job_request(self, service: ExecutionService, record: QueuedTaskRecord) -> dict[str, Any]:
                return {"nmae": record.task_name}

        strange = Strange(
            execution_config=sky.config, jobs_client=backend.jobs_client, executions_client=backend.executions_client
        )
        sent = await sky.service.enqueue(shop.add, 1, second=2)

        assert await strange.dispatch(sky.service, sent.record) is None
        kept = await sky.record(sent.record)
        assert (kept.status, events_of(kept)) == (TaskStatus.PENDING, ["released"])
        assert "nmae" in str(kept.history)
        assert sky.emulator.calls("RunJob") == 0
