"""What a task raises in an exception group counts as if it were raised alone, and the record names the cause."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import NamedTuple, NoReturn

import pytest

from lq_core import (
    INJECTED,
    NonRetryable,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    RetryLater,
    TaskStatus,
    Worker,
    per_attempt,
    task,
)


class BankError(Exception):
    """The bank does not answer."""


class BatchError(ExceptionGroup[Exception]):
    """A group of the application's."""


BANK, BUG = BankError("no answer"), ValueError("a bug")
NEVER, LATER = NonRetryable("no use"), RetryLater(60, "in a minute")


async def raise_in_task_group(error: BaseException) -> NoReturn:
    async def child() -> None:
        raise error

    async with asyncio.TaskGroup() as group:
        group.create_task(child())
    raise AssertionError("The task group raises.")


def at_once(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", errors)


class Case(NamedTuple):
    error: BaseException
    status: TaskStatus
    retries_spent: int
    kind: str
    message: str


RAISED: list[BaseException] = []
"""What the tasks raise next."""


@task(name="groups.charge", retries=3, backoff=60, retry_on=(BankError, BatchError), never_retry_on=(LookupError,))
async def charge() -> None:
    raise RAISED[0]


@task(name="groups.charge_in_thread", retries=3, backoff=60, retry_on=(BankError,))
def charge_in_thread() -> None:
    raise RAISED[0]


@task(name="groups.charge_in_task_group", retries=3)
async def charge_in_task_group() -> None:
    await raise_in_task_group(RAISED[0])


@task(name="groups.charge_late", retries=3, backoff=60, timeout=0.01)
async def charge_late() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RAISED[0] from None


async def run_once(service: QueueService, name: str, error: BaseException) -> QueuedTaskRecord:
    RAISED[:] = [error]
    sent = await service.enqueue_by_name(name)
    return await service.execute_record(sent.record)


CASES = {
    "one NonRetryable": Case(at_once(NEVER), TaskStatus.FAILED, 0, "NonRetryable", "no use"),
    "nested": Case(at_once(at_once(at_once(NEVER))), TaskStatus.FAILED, 0, "NonRetryable", "no use"),
    "NonRetryable before all": Case(
        at_once(BANK, LATER, NEVER), TaskStatus.FAILED, 0, "NonRetryable", "no use (and 2 more: BankError: no answer; "
    ),
    "RetryLater alone": Case(at_once(LATER), TaskStatus.PENDING, 0, "", "in a minute"),
    "RetryLater before others": Case(at_once(BUG, LATER), TaskStatus.PENDING, 0, "", "in a minute"),
    "the longest RetryLater": Case(
        at_once(RetryLater(1, "soon"), LATER, RetryLater(2)), TaskStatus.PENDING, 0, "", "in a minute"
    ),
    "never_retry_on": Case(at_once(BANK, KeyError("x")), TaskStatus.FAILED, 0, "BankError", "KeyError: 'x'"),
    "never_retry_on before RetryLater": Case(at_once(LATER, KeyError("x")), TaskStatus.FAILED, 0, "RetryLater", "'x'"),
    "retry_on": Case(at_once(BANK, at_once(BANK)), TaskStatus.PENDING, 1, "BankError", "no answer (and 1 more: Bank"),
    "one that is not in retry_on": Case(at_once(BANK, BUG), TaskStatus.FAILED, 0, "BankError", "ValueError: a bug"),
    "the group in retry_on": Case(BatchError("b", [BUG]), TaskStatus.PENDING, 1, "ValueError", "a bug"),
    "never in a group of retry_on": Case(BatchError("b", [KeyError("x")]), TaskStatus.FAILED, 0, "KeyError", "'x'"),
    "not only exceptions": Case(
        BaseExceptionGroup("base", [SystemExit(3), NEVER]), TaskStatus.FAILED, 0, "NonRetryable", "SystemExit: 3"
    ),
    "beside cancellations": Case(
        BaseExceptionGroup("base", [asyncio.CancelledError(), BANK]), TaskStatus.PENDING, 1, "BankError", "no answer"
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_exceptions_in_a_group_are_judged_as_if_raised_alone(service: QueueService, case: Case) -> None:
    record = await run_once(service, "groups.charge", case.error)

    last = record.history[-1]
    assert (record.status, record.retry_count, record.attempt) == (case.status, case.retries_spent, 1)
    assert (last.failure.type if last.failure else "") == case.kind
    assert case.message in (last.failure.message if last.failure else last.message or "")


@pytest.mark.parametrize("name", ["groups.charge_in_thread", "groups.charge_in_task_group", "groups.charge_late"])
async def test_an_instruction_in_a_group_counts_wherever_it_is_raised(service: QueueService, name: str) -> None:
    record = await run_once(service, name, at_once(NEVER))

    assert (record.status, record.error and record.error.message) == (TaskStatus.FAILED, "no use")


async def test_a_snooze_in_a_group_counts_after_the_timeout_too(service: QueueService) -> None:
    record = await run_once(service, "groups.charge_late", at_once(LATER))

    assert (record.status, record.history[-1].event) == (TaskStatus.PENDING, "snoozed")


async def test_the_traceback_of_a_group_shows_where_its_exceptions_were_raised(service: QueueService) -> None:
    record = await run_once(service, "groups.charge_in_task_group", BUG)

    trace = record.history[-1].failure
    assert trace is not None
    assert "in child" in trace.traceback
    assert "ValueError: a bug" in trace.traceback


class Session:
    """Wraps what the task raises, as a task group does."""


@per_attempt
async def session() -> AsyncIterator[Session]:
    async with asyncio.TaskGroup():
        yield Session()


class Broken:
    """Fails when it is closed."""


@per_attempt
async def broken() -> AsyncIterator[Broken]:
    async with AsyncExitStack() as closing:
        closing.push_async_callback(raise_in_task_group, NEVER)
        yield Broken()


@task(name="groups.charge_in_session", retries=3)
async def charge_in_session(session: Session = INJECTED) -> None:
    raise RAISED[0]


@task(name="groups.charge_and_break", retries=3)
async def charge_and_break(broken: Broken = INJECTED) -> None: ...


@pytest.mark.parametrize("name", ["groups.charge_in_session", "groups.charge_and_break"])
async def test_a_group_of_a_provider_counts_as_well(config: QueueConfig, name: str) -> None:
    async with QueueService(replace(config, providers=(session, broken))) as service:
        record = await run_once(service, name, NEVER)

    assert (record.status, record.error and record.error.message) == (TaskStatus.FAILED, "no use")


@task(name="groups.await_cancelled", retries=1, backoff=0)
async def await_cancelled() -> None:
    lost = asyncio.get_running_loop().create_future()
    lost.cancel("the pool was closed")
    await lost


@task(name="groups.await_cancelled_in_thread", retries=1, backoff=0)
def await_cancelled_in_thread() -> None:
    raise asyncio.CancelledError("the pool was closed")


@pytest.mark.parametrize("name", ["groups.await_cancelled", "groups.await_cancelled_in_thread"])
async def test_a_cancellation_that_a_library_leaks_keeps_its_text_and_traceback(
    service: QueueService, worker: Worker, name: str
) -> None:
    sent = await service.enqueue_by_name(name)

    record = await service.wait(sent.id, timeout=10)

    assert (record.status, record.attempt) == (TaskStatus.FAILED, 2)
    assert record.error is not None
    assert record.error.type == "CancelledError"
    assert record.error.message.endswith("the pool was closed")
    assert "await_cancelled" in record.error.traceback


@task(name="groups.leave_scope_open")
async def leave_scope_open() -> None:
    """Do as a cancel scope of anyio that is entered and never left: it cancels until the asyncio task has ended."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    assert me is not None

    def cancel_again(task: asyncio.Task[object]) -> None:
        if not task.done():
            task.cancel("the scope is cancelled")
            loop.call_soon(cancel_again, task)

    cancel_again(me)
    await asyncio.Event().wait()


@pytest.mark.parametrize("execution_backend", ["local", "immediate"])
async def test_a_cancel_scope_that_is_left_open_does_not_keep_the_outcome_from_being_stored(
    service: QueueService, worker: Worker, execution_backend: str
) -> None:
    sent = await service.enqueue(leave_scope_open.using(execution_backend=execution_backend))

    record = await service.wait(sent.id, timeout=10)

    assert (record.status, record.attempt) == (TaskStatus.FAILED, 1)
    assert record.error is not None
    assert record.error.message.endswith("the scope is cancelled")


async def test_a_library_that_leaks_a_cancellation_does_not_look_like_a_caller_that_went_away(
    service: QueueService,
) -> None:
    sent = await service.enqueue(await_cancelled.using(execution_backend="immediate", retries=0))

    assert sent.record.error is not None
    assert "the pool was closed" in sent.record.error.message
