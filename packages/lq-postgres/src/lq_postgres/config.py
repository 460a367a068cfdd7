"""Where the database is and how to speak to it: one value, checked when it is made."""

import os
import re
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Final

from lq_core.clock import LONGEST_WAIT
from lq_core.errors import ConfigurationError
from lq_core.record import check_count
from lq_postgres.driver import Pool

FEWEST: Final = 2
"""The fewest connections that one process needs: one to enqueue and one to claim."""

_SCHEMA: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,39}")
_ADDRESS: Final = re.compile(r"(postgres(?:ql)?)(?:\+\w+)?://")
_SCHEME: Final = re.compile(r"\w[\w+.-]*://")
# What has an @, a / or a # in the password is no such address, and where its secret ends is anybody's guess.
_WELL_FORMED: Final = re.compile(
    r"(?P<scheme>\w[\w+.-]*://)(?:[^@/?#]*@)?"
    r"(?P<place>{host}(?:,{host})*(?:/[^@/?#]*)?)(?:\?[^@]*)?".replace(
        "{host}", r"(?:\[[\da-fA-F:.]+\]|[\w.-]*)(?::\d+)?"
    )
)


def _dsn_of_the_environment() -> str | None:
    own = os.environ.get("LQ_POSTGRES_DSN")
    shared = os.environ.get("DATABASE_URL", "")
    return own or (shared if _ADDRESS.match(shared) else None)


@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """
    How :class:`lq_postgres.PostgresQueueBackend` reaches its database. Durations are in seconds.

    Without *dsn* and *pool*, the address is that of ``LQ_POSTGRES_DSN``, else of ``DATABASE_URL``, else what the
    variables of libpq (``PGHOST``, ``PGUSER``, ``PGPASSWORD``, …) say.

    Raises ConfigurationError when a value cannot work; the message names it.
    """

    dsn: str | None = field(default_factory=_dsn_of_the_environment, repr=False)
    """``postgresql://user:password@host:5432/database``; ``?sslmode=verify-full&sslrootcert=…`` for TLS."""

    pool: Pool | None = None
    """An open ``asyncpg.Pool`` of the application, used in place of an own one and never closed here."""

    schema: str = "lq"
    """The PostgreSQL schema that holds the tables."""

    min_connections: int = 1
    max_connections: int = 6
    """How many connections one process opens at most, beside the one that listens."""

    ssl: SSLContext | str | bool | None = None
    """TLS as asyncpg has it, where the DSN does not say it."""

    statement_cache: bool = True
    """False behind PgBouncer in transaction mode: no prepared statements, and no settings for the session."""

    listen_dsn: str | None = field(default=None, repr=False)
    """Where to listen for wake-ups when *dsn* leads through PgBouncer: the address of the server itself."""

    poll_only: bool = False
    """Do not listen at all; records are found by polling."""

    auto_migrate: bool = True
    """Whether opening brings the schema up to date; else it refuses, and names the command to run."""

    connect_timeout: float = 10.0
    command_timeout: float = 15.0
    """How long a statement may take, or a dead connection go unnoticed; 20 times as long where it reads the table."""

    probe_interval: float = 10.0
    """How often the connection that listens is looked at, which may be dead without looking so."""

    def __post_init__(self) -> None:
        if not isinstance(self.schema, str) or not _SCHEMA.fullmatch(self.schema):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(
                f"schema is {self.schema!r}; it must be at most 40 small letters, digits and underscores, and not "
                "begin with a digit or pg_."
            )
        if self.min_connections != 0:
            check_count("min_connections", self.min_connections)
        check_count("max_connections", self.max_connections)
        if self.max_connections < max(FEWEST, self.min_connections):
            raise ConfigurationError(
                f"min_connections is {self.min_connections!r} and max_connections {self.max_connections!r}; "
                f"at least {FEWEST} must be allowed, one to enqueue and one to claim, and no fewer than the minimum."
            )
        for name in ("connect_timeout", "command_timeout", "probe_interval"):
            _seconds(name, getattr(self, name))
        for name in ("statement_cache", "poll_only", "auto_migrate"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be True or False.")
        for name in ("dsn", "listen_dsn"):
            _address(name, getattr(self, name))
        if self.pool is not None and not isinstance(self.pool, Pool):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(f"pool is a {type(self.pool).__qualname__}; it must be an open asyncpg.Pool.")

    @property
    def queue_backend(self) -> str:
        """The queue backend that this configures."""
        return "postgres"


def for_asyncpg(address: str | None) -> str | None:
    """Leave out of an address which driver SQLAlchemy should take: ``postgresql+asyncpg://`` is common."""
    return None if address is None else _ADDRESS.sub(r"\1://", address, count=1)


def without_secrets(address: str) -> str:
    """Leave out of an address the user, the password and the options; all of it where these cannot be told apart."""
    found = _WELL_FORMED.fullmatch(address)
    if found:
        return found["scheme"] + found["place"]
    scheme = _SCHEME.match(address)
    return f"{scheme[0] if scheme else ''}..."


def _seconds(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not 0 < value <= LONGEST_WAIT:
        raise ConfigurationError(
            f"{name} is {value!r}; it must be a number of seconds, greater than 0 and at most {LONGEST_WAIT:g}."
        )


def _address(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{name} is a {type(value).__name__}; it must be text: 'postgresql://...'.")
    if value is not None and not _ADDRESS.match(value):
        if not value.strip():
            raise ConfigurationError(f"{name} is empty: does it come from a variable that is not set?")
        source = "dsn, or LQ_POSTGRES_DSN," if name == "dsn" else name
        raise ConfigurationError(f"{source} must begin with 'postgresql://'; it is {without_secrets(value)!r}.")
