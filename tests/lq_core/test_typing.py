"""A type checker sees what a call takes and returns: each ignored line below is an error that it must find."""

from typing import assert_type
from uuid import UUID, uuid4

import pytest

from lq_core import (
    ConfigurationError,
    InvalidArgumentError,
    QueueConfig,
    QueueService,
    TaskContext,
    TaskResult,
    task,
)


@task(name="typing.welcome", retries=2)
async def welcome(user_id: UUID, *, language: str = "en") -> str:
    return f"{language} {user_id}"


@task(name="typing.resize")
def resize(context: TaskContext, width: int) -> list[int]:
    return [width, context.attempt]


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
