"""A cancellation, or SystemExit, at any step of any asyncio task leaves nobody unanswered, and loses no record."""

import asyncio
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any

import pytest

import shop
from calls import CALLS, CLOSING
from every_step import PATIENCE, Fault, Play, Steps, problems_at_every_step, problems_in_every_coroutine, run_on
from lq_core import (
    QueueConfig,
    QueueError,
    QueueService,
    RecordFilter,
    Task,
    TaskStatus,
    Worker,
    task,
)
from lq_postgres import PostgresQueueBackend

RUNS = RecordFilter(statuses=(TaskStatus.PENDING, TaskStatus.RUNNING), task_names=("shop.add", "steps.inline"))


@task(name="steps.inline", execution_backend="immediate")
async def inline(number: int) -> int:
    await asyncio.sleep(0)
    return number


each_store = pytest.mark.parametrize("config", ["memory", "sqlite", "postgres"], indirect=True)
in_process = pytest.mark.parametrize("config", ["memory", "sqlite"], indirect=True)


@each_store
async def test_a_cancellation_at_any_step_of_a_call_leaves_every_other_caller_with_an_answer(
    service: QueueService,
) -> None:
    play = await _calls(service)

    assert await _cancelled_anywhere(play, service) == []


@each_store
async def test_a_cancellation_at_any_step_of_a_worker_loses_no_record_and_leaves_no_caller_without_an_answer(
    service: QueueService,
) -> None:
    assert await _cancelled_anywhere(partial(_work, service), service) == []


@in_process
def test_a_system_exit_in_a_call_leaves_every_other_caller_with_an_answer(config: QueueConfig) -> None:
    async def problems() -> list[str]:
        async with QueueService(config) as service:
            return await problems_in_every_coroutine(Fault.EXIT, await _calls(service))

    assert run_on(problems()) == []


@in_process
def test_a_system_exit_in_a_worker_loses_no_record_and_leaves_no_caller_without_an_answer(config: QueueConfig) -> None:
    async def problems() -> list[str]:
        async with QueueService(config) as service:
            return await problems_in_every_coroutine(Fault.EXIT, partial(_work, service))

    assert run_on(problems()) == []


async def _cancelled_anywhere(play: Play, queue: QueueService) -> list[str]:
    """Cancel at every step; with a server, whose answers take longer, once in every coroutine."""
    is_far = isinstance(queue.queue_backend, PostgresQueueBackend)
    return await (problems_in_every_coroutine if is_far else problems_at_every_step)(Fault.CANCELLED, play)


async def _calls(service: QueueService) -> Play:
    """Make every call at once."""
    async with Worker(service):
        sent = await service.enqueue(shop.add, 1, 1)
        await sent.wait(timeout=10)
    names = [name for name in CALLS if name not in CLOSING]

    async def make(name: str) -> object:
        return await CALLS[name](service, sent)

    async def play(steps: Steps) -> Mapping[str, str]:
        steps.install()
        found = await _without_answer(steps, {name: asyncio.create_task(make(name)) for name in names})
        steps.end()
        completed = (await sent.refresh()).status is TaskStatus.COMPLETED
        return found if completed else found | {"the record": "has changed"}

    return play


async def _work(service: QueueService, steps: Steps) -> Mapping[str, str]:
    """Run records while a worker works, which begins and ends."""
    over = asyncio.Event()
    steps.install()
    working = steps.exempt(_keep_working(service, steps, over))
    calls = {"one": _run(service, shop.add, 1, 2), "inline": _run(service, inline, 3)}
    found = await _without_answer(steps, {name: asyncio.create_task(call) for name, call in calls.items()})
    steps.end()
    found |= await _problem("afterwards", _finish(service))
    over.set()
    return found | await _problem("the end of the worker", working)


async def _run(service: QueueService, of: Task[..., int], *arguments: int) -> int:
    return await (await service.enqueue(of, *arguments)).wait(timeout=PATIENCE)


async def _without_answer(steps: Steps, callers: Mapping[str, asyncio.Task[Any]]) -> dict[str, str]:
    """Return the callers that were not answered in time, or that are told less than an error of lq."""
    ended, _ = await asyncio.wait(callers.values(), timeout=PATIENCE)
    problems = dict[str, str]()
    for name, caller in callers.items():
        if caller not in ended:
            problems[name] = "has no answer"
        elif caller is steps.victim:
            continue
        elif caller.cancelled():
            problems[name] = "was cancelled"
        elif steps.fault is Fault.EXIT and isinstance(caller.exception(), SystemExit):
            continue  # What was hit works for this caller alone.
        elif not isinstance(error := caller.exception(), QueueError | None):
            problems[name] = repr(error)
    return problems


async def _problem(name: str, doing: Awaitable[object]) -> dict[str, str]:
    try:
        async with asyncio.timeout(PATIENCE):
            await doing
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- whatever it is, the test shows it
        return {name: repr(error)}
    return {}


async def _keep_working(service: QueueService, steps: Steps, over: asyncio.Event) -> None:
    """Start another worker whenever one has ended, as the manager of a service does."""
    while not over.is_set():
        worker = Worker(service)
        running, ending = asyncio.create_task(worker.run()), steps.exempt(over.wait())
        await asyncio.wait([running, ending], return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await asyncio.wait([running])
        ending.cancel()


async def _finish(service: QueueService) -> None:
    """Wait until the worker has run everything, and one more record."""
    assert await _run(service, shop.add, 2, 2) == 4
    while await service.count(RUNS):  # noqa: ASYNC110 -- there is no event for records that nobody waits for
        await asyncio.sleep(0.01)  # As above.
