"""A type checker sees what a call takes and returns: each ignored line below is an error that it must find."""

from collections.abc import AsyncIterator, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import assert_type
from uuid import UUID, uuid4

import pytest

from lq_core import (
    INJECTED,
    ConfigurationError,
    InvalidArgumentError,
    Provider,
    QueueConfig,
    QueueService,
    TaskCall,
    TaskContext,
    TaskResult,
    per_attempt,
    per_worker,
    task,
)


@task(name="typing.welcome", retries=2)
async def welcome(user_id: UUID, *, language: str = "en") -> str:
    return f"{language} {user_id}"


@task(name="typing.resize")
def resize(context: TaskContext, width: int) -> list[int]:
    return [width, context.attempt]


@dataclass
class Pool:
    """What a task needs and no caller has."""


@task(name="typing.store")
async def store(user_id: UUID, pool: Pool = INJECTED) -> Pool:
    return pool


@per_worker
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


@per_attempt
@contextmanager
def depth(pool: Pool) -> Generator[int, None, None]:
    yield 1


@per_attempt
def scratch() -> AbstractContextManager[str]:
    return TemporaryDirectory()


async def test_what_is_injected_is_left_out_of_a_call_and_given_when_the_function_is_called() -> None:
    mine = Pool()

    assert_type(store.call(uuid4()), TaskCall[Pool])
    assert_type(await store(uuid4(), mine), Pool)
    assert await store(uuid4(), mine) is mine
    with pytest.raises(InvalidArgumentError):
        store.call()  # pyright: ignore[reportCallIssue] -- user_id is missing


def test_a_provider_has_the_type_of_what_it_yields() -> None:
    assert_type(pool, Provider[Pool])
    assert_type(depth, Provider[int])
    assert_type(scratch, Provider[str])
    assert (pool.provides, depth.provides, scratch.provides) == (Pool, int, str)


async def test_a_result_has_the_type_of_what_the_function_returns() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        sent = await queue.enqueue(welcome, uuid4(), language="de")
        many = await queue.enqueue_many(resize.using(priority=2).call(width) for width in (1, 2))

    assert_type(sent, TaskResult[str])
    assert_type(many, list[TaskResult[list[int]]])
    assert_type(await welcome(UUID(int=1)), str)


async def test_a_wrong_call_is_a_type_error_and_an_error_here() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        with pytest.raises(InvalidArgumentError):
            await queue.enqueue(welcome, "x")  # pyright: ignore[reportArgumentType] -- a text is no UUID
        with pytest.raises(InvalidArgumentError):
            await queue.enqueue(welcome, uuid4(), lang="de")  # pyright: ignore[reportCallIssue] -- it is called language
        with pytest.raises(InvalidArgumentError):
            await queue.enqueue(welcome)  # pyright: ignore[reportCallIssue] -- user_id is missing
        with pytest.raises(InvalidArgumentError):
            resize.call("wide")  # pyright: ignore[reportArgumentType] -- the width is a number
        with pytest.raises(ConfigurationError):
            welcome.using(priorty=5)  # pyright: ignore[reportCallIssue] -- it is called priority


async def test_calls_with_different_results_are_enqueued_together() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        made = await queue.enqueue_many([welcome.call(uuid4()), resize.call(3)])
        calls = [welcome.call(uuid4()), resize.call(3)]
        again = await queue.enqueue_many(calls)
        named: list[TaskResult[str | list[int]]] = await queue.enqueue_many([welcome.call(uuid4()), resize.call(3)])

    assert_type(made, list[TaskResult[str | list[int]]])  # In mypy, no union but what both have in common.
    assert_type(again, list[TaskResult[str | list[int]]])  # In mypy, no union but what both have in common.
    assert [each.record.task_name for each in (*made, *named)] == ["typing.welcome", "typing.resize"] * 2


async def test_the_habits_of_other_queues_are_errors_that_say_what_to_write() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        with pytest.raises(InvalidArgumentError, match=r"delay is an option of the task: .*\.using\(delay="):
            await queue.enqueue(welcome, uuid4(), delay=3)  # pyright: ignore[reportCallIssue] -- the mistake
    with pytest.raises(AttributeError, match=r"has no 'delay'\. .*: await queue\.enqueue\(welcome,"):
        welcome.delay(uuid4())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- the mistake
    with pytest.raises(AttributeError, match=r": await queue\.enqueue\(welcome\.using\(delay=60\),"):
        welcome.apply_async((uuid4(),))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- the mistake
    with pytest.raises(AttributeError, match=r"await queue\.enqueue\(resize, \.\.\.\)"):
        resize.send(3)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- the mistake
    with pytest.raises(AttributeError, match=r"A task has no 'usign'\. Did you mean 'using'"):
        resize.usign(priority=3)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- the mistake
    with pytest.raises(TypeError, match=r"A task cannot be awaited: `await queue\.enqueue\(welcome, \.\.\.\)`"):
        await welcome.using(priority=3)  # pyright: ignore[reportGeneralTypeIssues] -- the mistake
