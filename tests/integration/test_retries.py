"""Retries on every queue backend: which failures are tried again, how long after, and what is kept of each."""

import pytest

import shop
from lq_core import Backoff, QueueService, TaskContext, TaskFailedError, TaskStatus, Worker, task
from lq_core.attempts.failure import TRACEBACK_LIMIT
from lq_core.foundation.duration import seconds

WAITS: list[int] = []


class BankError(Exception):
    """The bank does not answer."""


class CardError(BankError):
    """The card is no good."""


@task(name="retries.charge", retries=5, backoff=0.01, retry_on=(BankError,), never_retry_on=(CardError,))
async def charge(context: TaskContext, problems: list[str]) -> int:
    kinds = {"bank": BankError, "card": CardError, "bug": ZeroDivisionError}
    if context.attempt <= len(problems):
        problem = problems[context.attempt - 1]
        raise kinds[problem](f"{problem} {context.attempt}")
    return context.attempt


@task(name="retries.rant", retries=2, backoff=0)
def rant(depth: int) -> None:
    if depth:
        rant.function(depth - 1)
    raise BankError("no! " * 100_000)


def patience(failures: int) -> float:
    WAITS.append(failures)
    return 0.01


def confusion(failures: int) -> float:
    raise ZeroDivisionError(failures)


async def test_a_listed_failure_is_tried_again_and_any_other_is_not(service: QueueService, worker: Worker) -> None:
    retried = await service.enqueue(charge, ["bank", "bank"])
    buggy = await service.enqueue(charge, ["bank", "bug"])

    assert await retried.wait(timeout=10) == 3
    with pytest.raises(TaskFailedError, match="ZeroDivisionError: bug 2"):
        await buggy.wait(timeout=10)
    assert (buggy.record.attempt, buggy.record.retry_count) == (2, 1)


async def test_a_failure_that_is_never_retried_ends_the_record_at_once(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(charge, ["card"])

    with pytest.raises(TaskFailedError, match="CardError: card 1"):
        await sent.wait(timeout=10)
    assert sent.record.attempt == 1


async def test_a_call_may_have_rules_of_its_own(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(charge.using(retry_on=None, never_retry_on=None), ["card", "bug", "bank"])

    assert await sent.wait(timeout=10) == 4


async def test_a_timeout_is_judged_like_a_timeout_error(service: QueueService, worker: Worker) -> None:
    slow = shop.linger.using(retries=1, backoff=0)
    once = await service.enqueue(slow.using(retry_on=(BankError,)))
    twice = await service.enqueue(slow.using(retry_on=(TimeoutError,)))

    assert (await service.wait(once.id, timeout=10)).attempt == 1
    assert (await service.wait(twice.id, timeout=10)).attempt == 2


async def test_a_function_is_asked_how_long_to_wait(service: QueueService, worker: Worker) -> None:
    WAITS.clear()
    sent = await service.enqueue(charge.using(backoff=patience), ["bank", "bank", "bank"])

    assert await sent.wait(timeout=10) == 4
    assert WAITS == [1, 2, 3]


async def test_a_function_that_fails_leaves_the_wait_to_the_default(service: QueueService) -> None:
    sent = await service.enqueue(charge.using(backoff=confusion), ["bank"])

    record = await service.execute_record(sent.record)

    wait = (record.scheduled_at - record.history[0].at).total_seconds()
    assert (record.status, seconds(Backoff().base) * 0.75 <= wait <= seconds(Backoff().base) * 1.25) == (
        TaskStatus.PENDING,
        True,
    )


async def test_every_attempt_leaves_its_error_and_no_error_is_too_long(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(rant, 50)

    await service.wait(sent.id, timeout=10)

    failures = [entry.failure for entry in (await sent.refresh()).history if entry.failure]
    assert [(entry.event, entry.attempt) for entry in sent.record.history] == [
        ("retried", 1),
        ("retried", 2),
        ("failed", 3),
    ]
    assert {failure.type for failure in failures} == {"BankError"}
    assert {len(failure.message) for failure in failures} == {TRACEBACK_LIMIT}
    assert all(TRACEBACK_LIMIT <= len(failure.traceback) < TRACEBACK_LIMIT + 100 for failure in failures)
    assert all("in rant" in failure.traceback and "characters left out" in failure.traceback for failure in failures)
    assert failures[-1] == sent.record.error
