"""Annotations that are text, as under ``from __future__ import annotations``, mean the same as others."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest

from lq_core import QueueConfig, TaskDefinitionError
from lq_core.tasks.known_tasks import find_task
from lq_core.tasks.task import AnyTask
from lq_core.testing import QueueTestbed

SHOP = '''
from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Optional, TYPE_CHECKING
from uuid import UUID

from lq_core import INJECTED, Provider, QueueService, TaskContext, per_attempt, per_worker, task

if TYPE_CHECKING:
    from decimal import Decimal


class Pool:
    """Kept by the worker."""


class Session:
    def __init__(self, pool: Pool | None, context: TaskContext | None) -> None:
        self.told = f"{type(pool).__name__} {context and context.attempt}"


@dataclass
class Line:
    product: UUID


@per_worker
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


@per_attempt
async def session(pool: Pool | None, context: Optional[TaskContext]) -> AsyncIterator[Session]:
    yield Session(pool, context)


@task(name="future.describe")
async def describe(context: TaskContext, line: Line, lines: list[Line]) -> list[str]:
    return [type(context).__name__, type(line.product).__name__, *(type(one).__name__ for one in lines)]


@task(name="future.optional")
async def optional(
    context: TaskContext | None, session: Session | None = INJECTED, *, queue: QueueService | None = INJECTED
) -> str:
    return f"{context and context.attempt} {session and session.told} {type(queue).__name__}"


@task(name="future.wrap")
def wrap(number: int) -> Awaitable[int]:
    return later(number)


async def later(number: int) -> int:
    return number


@task(name="future.before")
async def before(thing: Later) -> str:
    return type(thing).__name__


@dataclass
class Later:
    x: int


def local(provider: bool = False):
    @dataclass
    class Local:
        x: int

    class Store:
        name = "a store"

    def inner():
        @per_attempt
        async def store() -> AsyncIterator[Store]:
            yield Store()

        @task(name="future.local")
        async def take(
            context: TaskContext, thing: Local, things: list[Local], store: Store | None = INJECTED
        ) -> Local:
            return Local(thing.x + len(things) + len(store.name if store else ""))

        return store, take, Local

    return inner()
'''


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path: Path = tmp_path_factory.mktemp("future") / "future_shop.py"
    path.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("future_shop", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["future_shop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def result_of(shop: ModuleType, name: str, *args: object) -> object:
    async with QueueTestbed(QueueConfig(providers=(shop.pool, shop.session))) as bed:
        sent = await bed.service.enqueue_by_name(name, *args)
        await bed.drain()
        return await sent.wait(timeout=10)


async def test_the_context_and_arguments_arrive(shop: ModuleType) -> None:
    line = shop.Line(product=UUID(int=1))

    assert await result_of(shop, "future.describe", line, [line]) == ["TaskContext", "UUID", "Line"]


async def test_optional_values_are_injected(shop: ModuleType) -> None:
    assert await result_of(shop, "future.optional") == "1 Pool 1 QueueService"


async def test_an_awaitable_is_awaited_to_its_annotation(shop: ModuleType) -> None:
    assert await result_of(shop, "future.wrap", 3) == 3


async def test_a_type_that_is_defined_later_is_read_later(shop: ModuleType) -> None:
    assert await result_of(shop, "future.before", shop.Later(1)) == "Later"


async def test_local_types_of_a_local_task_are_found(shop: ModuleType) -> None:
    store, take, local = shop.local()
    async with QueueTestbed(QueueConfig(providers=(store,))) as bed:
        sent = await bed.service.enqueue(take, local(1), [local(2)])
        await bed.drain()
        assert await sent.wait(timeout=10) == local(1 + 1 + len("a store"))


def define(source: str) -> AnyTask:
    exec(f"from __future__ import annotations\n{source}", globals() | {"__name__": "future_exec"})
    return find_task("future.define")


@pytest.mark.parametrize(
    "source, problem",
    [
        (
            "from lq_core import *\n@task(name='future.define')\ndef f(x: int, c: TaskContext | None): ...",
            "not the first",
        ),
        ("from lq_core import *\n@task(name='future.define')\ndef f(x: set[list[int]]): ...", "not hashable"),
        ("from lq_core import *\n@task(name='future.define')\ndef f() -> complex: ...", "return annotation"),
    ],
)
def test_what_is_refused_at_definition_is_refused_there_too(source: str, problem: str) -> None:
    with pytest.raises(TaskDefinitionError, match=problem):
        define(source)


def test_a_type_that_is_only_imported_for_type_checkers_is_named_at_the_first_use() -> None:
    lost = define("from lq_core import *\n@task(name='future.define')\ndef f(price: Decimal): ...")

    with pytest.raises(TaskDefinitionError, match=r"'Decimal'.*not under TYPE_CHECKING"):
        lost.call(1)
