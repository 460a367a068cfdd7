"""What ``import lq_postgres`` gives, and what its configuration refuses."""

import pytest

import lq_postgres
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.queue import get_queue_backend
from lq_postgres import PostgresConfig, PostgresQueueBackend


def test_the_package_says_what_it_is_for() -> None:
    assert lq_postgres.__doc__


def test_the_backend_is_found_by_its_name() -> None:
    assert isinstance(get_queue_backend("postgres", QueueConfig()), PostgresQueueBackend)


def test_a_typed_configuration_names_its_backend() -> None:
    found = get_queue_backend(PostgresConfig(dsn="postgresql://ada:secret@db.example/shop", schema="work"))

    assert isinstance(found, PostgresQueueBackend)
    assert found.address == "postgresql://db.example/shop (schema work)"


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://db.example/shop")

    assert PostgresConfig().dsn == "postgresql+asyncpg://db.example/shop"

    monkeypatch.setenv("LQ_POSTGRES_DSN", "postgresql://queue.example/shop")

    assert PostgresConfig().dsn == "postgresql://queue.example/shop"


def test_an_address_of_another_database_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LQ_POSTGRES_DSN", raising=False)
    monkeypatch.setenv("DATABASE_URL", "mysql://db.example/shop")

    assert PostgresConfig().dsn is None


@pytest.mark.parametrize(
    "setting, value, said",
    [
        ("schema", 'lq"; DROP', "schema is 'lq\"; DROP'"),
        ("dsn", "mysql://ada:secret@db.example", "dsn must begin with 'postgresql://'"),
        ("max_connections", 1, "at least 2"),
        ("command_timeout", 0, "command_timeout is 0"),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _ = PostgresConfig(**{setting: value})  # pyright: ignore[reportArgumentType] -- wrong values are the point


def test_no_secret_is_shown() -> None:
    config = PostgresConfig(dsn="postgresql://ada:secret@db.example/shop")

    assert "secret" not in repr(config)
