"""A test calls a task directly, and the function runs as it is written."""

from typing import assert_type

import pytest

from lq_core import INJECTED, Progress, TaskContext, current_context, task
from lq_core.testing import task_context


@task(name="direct.add")
async def add(one: int, other: int = 1) -> int:
    return one + other


@task(name="direct.double")
def double(one: int) -> int:
    return 2 * one


@task(name="direct.resize")
async def resize(context: TaskContext, width: int) -> int:
    await context.progress(width, message="resized")
    return context.attempt


@task(name="direct.crop")
def crop(context: TaskContext, width: int) -> int:
    context.progress_from_thread(width)
    return current_context().attempt


@task(name="direct.store")
async def store(name: str, pool: dict[str, int] = INJECTED) -> int:
    return pool[name]


async def test_a_direct_call_runs_the_function_as_it_is_written() -> None:
    assert_type(await add(1), int)
    assert_type(double(2), int)
    assert (await add(1), await add.using(priority=3)(1, other=2), double(2)) == (2, 3, 4)
    assert await store("a", {"a": 5}) == 5


async def test_a_direct_call_gets_the_context_of_the_test() -> None:
    with task_context(attempt=2) as context:
        assert await resize(7) == 2
        assert context.record.progress == Progress(done=7, message="resized")
    with pytest.raises(LookupError):
        current_context()


def test_a_direct_call_of_a_plain_task_gets_the_context_of_the_test() -> None:
    with task_context() as context:
        assert crop(7) == 1
        assert crop(width=8) == 1
        assert crop.function(context, 9) == 1

    assert context.record.progress == Progress(done=9)
