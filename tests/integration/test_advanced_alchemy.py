"""Enqueues in the transactions of Advanced Alchemy's sessions, and after their commit, with its plugin for Litestar."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from advanced_alchemy.base import BigIntBase
from advanced_alchemy.extensions.litestar import EngineConfig, SQLAlchemyAsyncConfig, SQLAlchemyPlugin
from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.status_codes import HTTP_201_CREATED, HTTP_500_INTERNAL_SERVER_ERROR
from litestar.testing import TestClient
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Mapped, Session
from sqlalchemy.pool import NullPool

from lq_core import ConfigurationError, QueueConfig, QueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_litestar import QueuePlugin, enqueue_after_commit
from lq_postgres import PostgresConfig
from servers import PostgresServer


class Customer(BigIntBase):
    """A row of the application."""

    __tablename__ = "alchemy_customer"

    name: Mapped[str]


@task(name="alchemy.welcome")
async def welcome(name: str) -> str:
    return f"Welcome, {name}!"


class ChangedMindError(Exception):
    """What makes a handler fail after it has enqueued."""


@post("/within/{name:str}")
async def add_within(
    name: FromPath[str], db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
) -> UUID:
    db_session.add(Customer(name=name))
    sent = await queue_service.within(db_session).enqueue(welcome, name)
    if name == "mallory":
        raise ChangedMindError
    return sent.id


@post("/after/{name:str}")
async def add_and_enqueue_after(
    name: FromPath[str], db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
) -> int:
    db_session.add(Customer(name=name))
    enqueue_after_commit(queue_service, db_session, welcome, name)
    if name == "mallory":
        raise ChangedMindError
    return await queue_service.count()


@post("/savepoints")
async def enqueue_in_savepoints(
    db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
) -> int:
    async with db_session.begin_nested() as kept:
        enqueue_after_commit(queue_service, db_session, welcome, "ada")
        await kept.commit()
    async with db_session.begin_nested() as outer:
        async with db_session.begin_nested():
            enqueue_after_commit(queue_service, db_session, welcome, "bob")
        await outer.rollback()
    return await queue_service.count()


@post("/closed")
async def close(db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]) -> None:
    await db_session.execute(select(1))
    enqueue_after_commit(queue_service, db_session, welcome, "ada")
    await db_session.close()


@get("/counts")
async def counts(
    db_session: NamedDependency[AsyncSession], queue_service: NamedDependency[QueueService]
) -> tuple[int, int]:
    customers = await db_session.scalar(select(func.count()).select_from(Customer))
    return customers or 0, await queue_service.count()


def client_of(address: str, config: QueueConfig) -> TestClient[Litestar]:
    alchemy = SQLAlchemyAsyncConfig(
        connection_string=address,
        before_send_handler="autocommit",
        create_all=True,
        engine_config=EngineConfig(poolclass=NullPool),  # Advanced Alchemy closes the pool of its first engine only.
    )
    handlers: list[Any] = [add_within, add_and_enqueue_after, enqueue_in_savepoints, close, counts]
    plugins = [SQLAlchemyPlugin(config=alchemy), QueuePlugin(config, worker=False)]
    return TestClient(Litestar(handlers, plugins=plugins))


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    """An application whose rows and records are in two SQLite files."""
    config = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"))
    with client_of(f"sqlite+aiosqlite:///{tmp_path / 'shop.db'}", config) as client:
        yield client


@pytest.fixture
def together(postgres: PostgresServer, shop: str) -> Iterator[TestClient[Litestar]]:
    """An application whose rows and records are in one PostgreSQL database."""
    dsn = postgres.empty_database(shop)
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn))
    with client_of(dsn.replace("postgresql:", "postgresql+asyncpg:"), config) as client:
        yield client


def test_rows_and_records_are_committed_together_or_not_at_all(together: TestClient[Litestar]) -> None:
    before = together.get("/counts").json()

    assert together.post("/within/ada").status_code == HTTP_201_CREATED
    assert together.post("/within/mallory").status_code == HTTP_500_INTERNAL_SERVER_ERROR

    customers, records = together.get("/counts").json()
    assert (customers - before[0], records - before[1]) == (1, 1)


def test_a_call_after_the_commit_is_enqueued_when_the_handler_has_returned(apart: TestClient[Litestar]) -> None:
    assert apart.post("/after/ada").json() == 0

    assert apart.get("/counts").json() == [1, 1]


def test_a_call_after_the_commit_is_dropped_by_a_rollback(apart: TestClient[Litestar]) -> None:
    assert apart.post("/after/mallory").status_code == HTTP_500_INTERNAL_SERVER_ERROR

    assert apart.get("/counts").json() == [0, 0]


def test_only_the_commit_of_the_whole_transaction_enqueues_what_was_not_rolled_back(
    apart: TestClient[Litestar],
) -> None:
    assert apart.post("/savepoints").json() == 0

    assert apart.get("/counts").json() == [0, 1]


def test_a_session_that_is_closed_drops_its_calls(apart: TestClient[Litestar]) -> None:
    apart.post("/closed")

    assert apart.get("/counts").json() == [0, 0]


async def test_a_store_that_fails_after_the_commit_is_told_to_the_application_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = create_async_engine("sqlite+aiosqlite://")
    async with AsyncSession(engine) as session:
        async with QueueService(QueueConfig(queue_backend="memory")) as soon_closed:
            enqueue_after_commit(soon_closed, session, welcome, "ada")
        with pytest.raises(ConfigurationError, match="not open"):
            await session.commit()
    await engine.dispose()

    assert "enqueue.after_commit_failed tasks=alchemy.welcome" in caplog.messages


def test_a_plain_session_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not an AsyncSession"):
        enqueue_after_commit(QueueService(), Session(), welcome, "ada")
