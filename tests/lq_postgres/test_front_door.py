"""What ``import lq_postgres`` gives, and what its configuration refuses."""

from traceback import format_exception
from uuid import uuid4

import pytest

import lq_postgres
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, StorageError
from lq_core.queue import get_queue_backend
from lq_postgres import PostgresConfig, PostgresQueueBackend

ADDRESS = "postgresql://db.example/shop"


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
        ("schema", "pg_lq", "schema is 'pg_lq'"),
        ("schema", None, "schema is None"),
        ("dsn", "mysql://ada:secret@db.example", "dsn, or LQ_POSTGRES_DSN, must begin with 'postgresql://'"),
        ("dsn", b"postgresql://ada:secret@db.example", "dsn is of type bytes; it must be text"),
        ("dsn", " ", "dsn is empty. Does it come from an environment variable that is not set?"),
        ("listen_dsn", 5432, "listen_dsn is of type int; it must be text"),
        ("pool", "postgresql://ada:secret@db.example", "pool is of type str; it must be an asyncpg.Pool"),
        ("password", b"secret", "password is of type bytes; it must be text, or a function"),
        ("connect", "postgresql://ada:secret@db.example", "connect is of type str; it must be an async function"),
        ("auto_migrate", "no", "auto_migrate is 'no'; it must be True or False"),
        ("max_connections", 1, "at least 2"),
        ("max_connections", "6", "max_connections is '6'; it must be a whole number"),
        ("max_connections", 2.5, "max_connections is 2.5; it must be a whole number"),
        ("min_connections", True, "min_connections is True; it must be a whole number"),
        ("min_connections", -1, "min_connections is -1; it must be a whole number"),
        ("min_connections", 9, "at least min_connections"),
        ("command_timeout", 0, "command_timeout is 0"),
        ("command_timeout", "15", "command_timeout is '15'; it must be a number of seconds"),
        ("connect_timeout", float("inf"), "connect_timeout is inf; it must be a number of seconds"),
        ("probe_interval", None, "probe_interval is None; it must be a number of seconds"),
    ],
)
def test_a_setting_that_cannot_work_is_named(setting: str, value: object, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        _ = PostgresConfig(**{setting: value})  # pyright: ignore[reportArgumentType] -- wrong values are the point
    assert "secret" not in str(raised.value)


async def test_a_backend_that_was_not_opened_says_what_to_open() -> None:
    backend = get_queue_backend(PostgresConfig(dsn=ADDRESS))

    with pytest.raises(StorageError, match=r"is not open\. Open the QueueService that uses it first"):
        _ = await backend.get(uuid4())


def test_no_secret_is_shown() -> None:
    config = PostgresConfig(dsn="postgresql://ada:secret@db.example/shop")

    assert "secret" not in repr(config)


@pytest.mark.parametrize(
    "dsn, shown",
    [
        ("postgresql://ada:secret@db.example:5432/shop?password=secret", "postgresql://db.example:5432/shop"),
        ("postgresql+asyncpg://[::1]:5432/shop", "postgresql+asyncpg://[::1]:5432/shop"),
        ("postgresql://ada:secret@one:5432,two/shop", "postgresql://one:5432,two/shop"),
        ("postgresql:///shop?host=/run", "postgresql:///shop"),
        ("postgresql://ada:se@secret@db.example/shop", "postgresql://..."),
        ("postgresql://db.example/shop?password=se@cret", "postgresql://..."),
    ],
)
def test_an_address_is_shown_without_what_may_be_a_secret(dsn: str, shown: str) -> None:
    backend = PostgresQueueBackend(settings=PostgresConfig(dsn=dsn))

    assert backend.address == f"{shown} (schema lq)"


@pytest.mark.parametrize("field", ["dsn", "listen_dsn"])
@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ada:secret/secret@db.example/shop",
        "postgresql://ada:secret?secret@db.example/shop",
        "postgresql://ada:secret#secret@db.example/shop",
        "postgresql://ada:secret",
        "postgresql://ada:secret@db.example:secret/shop",
        "postgresql://ada:secret@[::1/shop",
    ],
)
def test_the_error_for_an_unreadable_address_shows_no_part_of_it(field: str, address: str) -> None:
    with pytest.raises(ConfigurationError, match="The address cannot be read") as raised:
        _ = PostgresConfig(**{field: address})  # pyright: ignore[reportArgumentType] -- both are addresses

    assert "secret" not in "".join(format_exception(raised.value))
