"""Every public call, from wherever it is made, works or is refused with advice, and the worker goes on."""

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import pytest

import shop
from calls import CALLS, CLOSING
from lq_core import (
    INJECTED,
    ConfigurationError,
    QueueConfig,
    QueueError,
    QueueService,
    TaskContext,
    TaskStatus,
    Worker,
    task,
)
from lq_core.contracts import a_claim, a_record, a_swap
from lq_core.queue import BaseQueueBackend, Proposal, QueueStore


async def outcome_of(call: Awaitable[object]) -> str:
    """``"works"``, or ``"refused"`` with advice; anything else is the error."""
    try:
        async with asyncio.timeout(10):
            await call
    except (QueueError, RuntimeError) as error:
        return "refused" if len(str(error)) > 20 and "attached to a different loop" not in str(error) else repr(error)
    except BaseException as error:  # noqa: BLE001 -- whatever it is, the test shows it
        return repr(error)
    return "works"


def in_a_foreign_loop(call: Callable[[], Awaitable[object]]) -> str:
    async def run() -> str:
        return await outcome_of(call())

    return asyncio.run(run())


async def check_that_the_worker_goes_on(service: QueueService) -> None:
    assert await (await service.enqueue(shop.add, 20, 1)).wait(timeout=10) == 21


def test_every_coroutine_method_of_the_service_is_called() -> None:
    methods = {name for name, _ in inspect.getmembers(QueueService, inspect.iscoroutinefunction)}

    assert {name for name in methods if not name.startswith("_")} == {
        name for name in CALLS if "." not in name and name != "worker"
    }


async def test_every_call_from_a_foreign_event_loop_is_refused_and_the_worker_goes_on(
    service: QueueService, worker: Worker
) -> None:
    sent = await service.enqueue(shop.add, 1, 1)
    await sent.wait(timeout=10)

    outcomes = {
        name: await asyncio.to_thread(in_a_foreign_loop, lambda call=call: call(service, sent))
        for name, call in CALLS.items()
    }

    assert outcomes == dict.fromkeys(CALLS, "refused")
    await check_that_the_worker_goes_on(service)


async def test_every_call_can_be_made_twice_at_once(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add, 1, 1)
    await sent.wait(timeout=10)
    names = [name for name in CALLS if name not in CLOSING]

    outcomes = await asyncio.gather(*(outcome_of(CALLS[name](service, sent)) for name in names * 2))

    assert set(outcomes) <= {"works", "refused"}, dict(zip(names * 2, outcomes, strict=True))
    await check_that_the_worker_goes_on(service)


async def test_a_service_is_opened_and_closed_by_two_callers_at_once(config: QueueConfig) -> None:
    service = QueueService(config)

    await asyncio.gather(service.open(), service.open(), service.open())
    async with Worker(service):
        await check_that_the_worker_goes_on(service)
    await asyncio.gather(service.close(), service.close())

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lq")] == []


async def test_a_queue_backend_is_opened_by_two_callers_at_once(config: QueueConfig) -> None:
    backend = QueueService(config).queue_backend

    await asyncio.gather(backend.open(), backend.open())
    counted = await backend.statistics()
    await backend.close()

    assert counted.counts == {}
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("lq")] == []


@task(name="caller.close")
async def close_the_service(queue: QueueService = INJECTED) -> str:
    return await outcome_of(queue.close())


async def test_a_task_cannot_close_the_service_that_runs_it(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(close_the_service)

    assert await sent.wait(timeout=10) == "refused"
    await check_that_the_worker_goes_on(service)


async def test_every_call_after_the_close_is_refused(config: QueueConfig) -> None:
    async with QueueService(config) as service:
        sent = await service.enqueue(shop.add, 1, 1)
    names = [name for name in CALLS if name not in {"close", "open"}]

    outcomes = [await outcome_of(CALLS[name](service, sent)) for name in names]

    assert dict(zip(names, outcomes, strict=True)) == dict.fromkeys(names, "refused")


async def test_every_method_of_a_queue_backend_is_refused_in_a_foreign_event_loop(
    service: QueueService, worker: Worker
) -> None:
    def call(name: str) -> str:
        async def run() -> object:
            return await getattr(service.queue_backend, name)()  # It is refused before it looks at its arguments.

        return in_a_foreign_loop(run)

    methods = sorted(QueueStore.__abstractmethods__)

    outcomes = {name: await asyncio.to_thread(call, name) for name in methods}
    outcomes |= {name: await asyncio.to_thread(submit, service.queue_backend, name) for name in FRONT_DOOR}

    assert outcomes == dict.fromkeys([*methods, *FRONT_DOOR], "refused")
    await check_that_the_worker_goes_on(service)


FRONT_DOOR: Final[Mapping[str, Callable[[BaseQueueBackend], Awaitable[object]]]] = {
    "claim": lambda queue: queue.claim(a_claim()),
    "insert": lambda queue: queue.insert([a_record()]),
    "propose": lambda queue: queue.propose([Proposal(a_record())]),
    "swap": lambda queue: queue.swap([a_swap(a_record())]),
    "swap_waiting": lambda queue: queue.swap_waiting([a_swap(a_record())]),
}


def submit(backend: BaseQueueBackend, name: str) -> str:
    async def run() -> object:
        return await FRONT_DOOR[name](backend)

    return in_a_foreign_loop(run)


async def test_a_worker_is_stopped_from_another_thread(service: QueueService) -> None:
    async with asyncio.timeout(10), Worker(service) as worker:
        thread = threading.Thread(target=worker.stop)
        thread.start()
        thread.join()
        while await service.workers():  # noqa: ASYNC110 -- a store has no event for this
            await asyncio.sleep(0)


async def test_a_worker_runs_once(service: QueueService) -> None:
    async with Worker(service) as worker:
        assert await outcome_of(worker.run()) == "refused"
        await check_that_the_worker_goes_on(service)

    assert await outcome_of(worker.run()) == "refused"


@task(name="caller.foreign_loop")
def report_from_a_foreign_loop(context: TaskContext) -> None:
    """Report from an event loop of its own, and from a thread of its own."""
    asyncio.run(context.progress(1, total=2))
    asyncio.run(context.log("from another event loop"))
    asyncio.run(context.predecessors())
    thread = threading.Thread(target=context.progress_from_thread, args=(2, 2))
    thread.start()
    thread.join()


async def test_a_task_reports_from_an_event_loop_of_its_own(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(report_from_a_foreign_loop)

    await sent.wait(timeout=10)

    progress = (await sent.refresh()).progress
    assert progress is not None
    assert progress.done == 2
    assert "from another event loop" in [entry.message for entry in sent.record.history]
    await check_that_the_worker_goes_on(service)


def exit_code_in_a_fork(act: Callable[[], object]) -> int:
    """Act in a forked child; 3 if it is refused with a QueueError or a RuntimeError."""
    child = os.fork()
    if not child:
        code = 1
        try:
            act()
        except (QueueError, RuntimeError):
            code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@task(name="caller.fork")
def report_from_a_fork(context: TaskContext) -> list[int]:
    return [
        exit_code_in_a_fork(lambda: context.progress_from_thread(1)),
        exit_code_in_a_fork(lambda: asyncio.run(context.progress(1))),
    ]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_forked_child_of_a_task_is_refused_and_the_worker_goes_on(
    service: QueueService, worker: Worker
) -> None:
    sent = await service.enqueue(report_from_a_fork)

    assert await sent.wait(timeout=20) == [3, 3]
    await check_that_the_worker_goes_on(service)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
async def test_a_queue_backend_is_refused_in_a_forked_child(service: QueueService) -> None:
    await service.count()

    async def read() -> object:
        return await service.queue_backend.statistics()

    def count() -> object:
        # A new event loop needs a thread in which none runs.
        codes: list[str] = []
        thread = threading.Thread(target=lambda: codes.append(in_a_foreign_loop(read)))
        thread.start()
        thread.join()
        if codes == ["refused"]:
            raise ConfigurationError
        return codes

    assert exit_code_in_a_fork(count) == 3


HELPERS: Final = ("GroupCommit", "Completions", "ProgressReports", "Heartbeat", "repeat")


def cancel_helpers() -> None:
    """Cancel the asyncio tasks that work for several callers, as code does that cancels all that it finds."""
    for one in asyncio.all_tasks():
        if getattr(one.get_coro(), "__qualname__", "").startswith(HELPERS):
            one.cancel()


@task(name="caller.cancel_the_helpers", retries=5)
async def cancel_the_helpers() -> None:
    cancel_helpers()


async def test_a_waiter_is_answered_when_the_asyncio_task_that_works_for_it_is_cancelled(
    service: QueueService,
) -> None:
    sent = await service.enqueue(shop.add, 1, 1)  # No worker runs it.
    waiting = [asyncio.create_task(outcome_of(sent.wait()))]
    waiting += [asyncio.create_task(outcome_of(service.enqueue(shop.add, 1, 1))) for _ in range(3)]

    await asyncio.sleep(0)
    cancel_helpers()
    outcomes = await asyncio.gather(*waiting)

    assert outcomes[0] == "refused"
    assert set(outcomes) <= {"refused", "works"}
    assert (await (await service.enqueue(shop.add, 1, 1)).refresh()).status is TaskStatus.PENDING


async def test_a_task_that_cancels_what_works_for_others_does_not_end_the_worker(
    service: QueueService,
) -> None:
    await service.enqueue_many(cancel_the_helpers.call() for _ in range(3))

    async with Worker(service):
        async with asyncio.timeout(30):
            while (await service.statistics()).total(TaskStatus.COMPLETED) < 3:  # noqa: ASYNC110 -- a store has no event
                await asyncio.sleep(0.01)  # A wait could be cancelled, too.

        await check_that_the_worker_goes_on(service)
