"""Providers that cannot work, alone or together, are refused when the configuration is made."""

from collections.abc import AsyncIterator, Iterator
from tempfile import TemporaryDirectory
from typing import Annotated, NewType

import pytest

from lq_core import (
    ConfigurationError,
    MissingProviderError,
    QueueConfig,
    QueueService,
    TaskContext,
    per_attempt,
    per_worker,
)


class Pool:
    """Something that is kept."""


class Session:
    """Something that is opened for each attempt."""


Replica = NewType("Replica", Pool)
Archive = Annotated[Pool, "archive"]


@per_worker
async def pool() -> AsyncIterator[Pool]:
    yield Pool()


@per_worker
async def another_pool() -> AsyncIterator[Pool]:
    yield Pool()


@per_worker
def replica() -> Iterator[Replica]:
    yield Replica(Pool())


@per_worker
def archive() -> Iterator[Archive]:
    yield Pool()


@per_attempt
async def session(pool: Pool) -> AsyncIterator[Session]:
    yield Session()


@per_worker
async def pool_of_sessions(session: Session) -> AsyncIterator[Pool]:
    yield Pool()


@per_attempt
async def pool_in_circle(session: Session) -> AsyncIterator[Pool]:
    yield Pool()


@per_worker
async def pool_of_attempt(context: TaskContext) -> AsyncIterator[Pool]:
    yield Pool()


@per_worker
def returned() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@per_attempt
async def untyped(pool) -> AsyncIterator[Session]:  # noqa: ANN001 # pyright: ignore[reportMissingParameterType, reportUnknownParameterType] -- a missing annotation is the example
    yield Session()


@per_attempt
async def with_a_size(size: int = 3) -> AsyncIterator[Session]:
    yield Session()


@pytest.mark.parametrize(
    "providers, problem",
    [
        ((pool, another_pool), r"pool and .*another_pool both provide Pool\. Leave one of them out"),
        ((session, pool_in_circle), r"in a circle: .*(session needs .*pool_in_circle needs|pool_in_circle needs .*se)"),
        ((session, pool_of_sessions), "pool_of_sessions is kept per worker, and its parameter 'session' is a Session"),
        ((pool_of_attempt,), "'context' is a TaskContext, which exists only during an attempt"),
        ((returned,), r"provider .*returned, .*Directory\[str\], does not name what it yields\. Write it as"),
        ((untyped,), "'pool' of the provider .*untyped needs an annotation"),
        ((Pool,), "it must be a tuple of functions with @per_worker or @per_attempt"),
        (pool, "providers is <Provider"),
    ],
)
def test_what_cannot_work_together_is_refused_with_the_configuration(providers: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        QueueConfig(providers=providers)  # pyright: ignore[reportArgumentType] -- some of the mistakes are wrong types


def test_what_a_provider_needs_has_to_be_provided() -> None:
    with pytest.raises(
        MissingProviderError, match=r"session asks for a Pool as 'pool', and there is no provider for it"
    ):
        QueueService(QueueConfig(queue_backend="memory", providers=(session,)))


def test_two_of_one_class_are_told_apart_by_a_new_type_or_a_note() -> None:
    config = QueueConfig(providers=(pool, replica, archive))

    assert [provider.provides for provider in config.providers] == [Pool, Replica, Archive]


def test_a_parameter_with_a_default_of_its_own_is_left_alone() -> None:
    assert with_a_size.needs == {}
