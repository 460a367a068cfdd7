"""The settings of the PostgreSQL queue backend."""

import os
import re
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Annotated, Final

from msgspec import Meta

from lq_core.foundation.duration import duration
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.validation import Count, CountOrZero, PositiveSecondsField, check, refuse_unknown_fields
from lq_postgres.connection.address import SCHEME, read_address
from lq_postgres.connection.driver import Connect, PasswordSource, Pool

FEWEST: Final = 2
"""The fewest connections of one process: one to enqueue and one to claim."""

_ANY_SCHEME: Final = re.compile(r"\w[\w+.-]*://")
# An address with @, / or # in the password does not match, because the end of the password is unknown.
_WELL_FORMED: Final = re.compile(
    r"(?P<scheme>\w[\w+.-]*://)(?:[^@/?#]*@)?"
    r"(?P<place>{host}(?:,{host})*(?:/[^@/?#]*)?)(?:\?[^@]*)?".replace(
        "{host}", r"(?:\[[\da-fA-F:.]+\]|[\w.-]*)(?::\d+)?"
    )
)


def _dsn_of_the_environment() -> str | None:
    shared = os.environ.get("DATABASE_URL", "")
    return os.environ.get("LQ_POSTGRES_DSN") or (shared if SCHEME.match(shared) else None)


_Address = Annotated[str, Meta(description="text: 'postgresql://...'")]
_Schema = Annotated[
    str,
    Meta(
        pattern=r"^(?!pg_)[a-z_][a-z0-9_]{0,39}\Z",
        description="at most 40 small letters, digits and underscores; it must not begin with a digit or pg_",
    ),
]


@refuse_unknown_fields
@dataclass(frozen=True, kw_only=True)
class PostgresConfig:
    """
    How :class:`lq_postgres.PostgresQueueBackend` connects to its database. Durations are seconds or a ``timedelta``.

    Without *dsn* and *pool*, the address comes from ``LQ_POSTGRES_DSN``, then from ``DATABASE_URL``, then from the
    environment variables of libpq (``PGHOST``, ``PGUSER``, ``PGPASSWORD``, …).
    An invalid value raises ConfigurationError.
    """

    dsn: _Address | None = field(default_factory=_dsn_of_the_environment, repr=False)
    """``postgresql://user:password@host:5432/database``; ``?sslmode=verify-full&sslrootcert=…`` for TLS."""

    password: Annotated[str | PasswordSource | None, Meta(description="text, or a function that returns it")] = field(
        default=None, repr=False
    )
    """
    The password, instead of one in the address, or a function that returns the present one, for each new connection.

    Use a function for passwords and tokens that change. A plain function runs in a thread and may block. An async one
    must work in any event loop, because the heartbeat has its own while a task blocks the event loop.
    """

    connect: Annotated[Connect, Meta(description="an async function")] | None = field(default=None, repr=False)
    """
    An async function that opens a connection of asyncpg, instead of *dsn*: for the connector of a provider.

    While a task blocks the event loop, the heartbeat calls it in another event loop, or uses *listen_dsn* if it is set.
    """

    pool: Annotated[Pool, Meta(description="an asyncpg.Pool")] | None = field(default=None, repr=False)
    """
    An ``asyncpg.Pool`` of the application, to use for its calls; lq opens it if need be, and never closes it.

    What lq does by itself, such as claims and heartbeats, has connections of its own, opened as those of the pool.
    """

    schema: _Schema = "lq"
    """The PostgreSQL schema that holds the tables."""

    min_connections: CountOrZero = 1
    max_connections: Count = 6
    """
    The most connections of one process.

    An idle process holds one, and opens more when callers have to wait for it. One that listens comes on top, and one
    for the heartbeats while a task blocks the event loop.
    """

    ssl: SSLContext | str | bool | None = None
    """The ``ssl`` argument of asyncpg, if the DSN does not configure TLS."""

    statement_cache: bool = True
    """Set False behind PgBouncer: no prepared statements, and settings for each transaction instead of the session."""

    listen_dsn: _Address | None = field(default=None, repr=False)
    """
    The address of the server itself, to listen for wake-ups, if *dsn* is the address of PgBouncer.

    With *pool* or *connect*, it is also the address for heartbeats while a task blocks the event loop.
    """

    poll_only: bool = False
    """Do not listen; find records by polling. Other processes are still notified of the records of this one."""

    notify: bool = True
    """
    Whether to notify other processes of new work, and to listen.

    Set False in every process of a queue where nobody has to hear: commits do not wait for each other then, and the
    transactions in which the application enqueues can be prepared (two-phase commit).
    """

    auto_migrate: bool = True
    """Whether opening migrates the schema; otherwise it raises SchemaError with the command to run."""

    connect_timeout: PositiveSecondsField = duration(10.0)
    command_timeout: PositiveSecondsField = duration(15.0)
    """The longest time for a statement, and 20 times that for a statement that reads the whole table."""

    probe_interval: PositiveSecondsField = duration(10.0)
    """How often lq checks the connection that listens."""

    def __post_init__(self) -> None:
        check(self)
        if self.max_connections < max(FEWEST, self.min_connections):
            raise ConfigurationError(
                f"max_connections is {self.max_connections!r}; it must be at least {FEWEST}, one to enqueue and one to "
                f"claim, and at least min_connections, which is {self.min_connections!r}."
            )
        if self.connect is not None and self.pool is not None:
            raise ConfigurationError(
                "connect and pool are both set: each is a way to get connections. Set one of them."
            )
        if self.connect is None and self.pool is None:
            _check("dsn", self.dsn)
        _check("listen_dsn", self.listen_dsn)

    @property
    def queue_backend(self) -> str:
        """The name of the queue backend that this configures."""
        return "postgres"


def without_secrets(address: str) -> str:
    """Remove user, password and options from an address, or everything if the address is not well-formed."""
    found = _WELL_FORMED.fullmatch(address)
    if found:
        return found["scheme"] + found["place"]
    scheme = _ANY_SCHEME.match(address)
    return f"{scheme[0] if scheme else ''}..."


def _check(name: str, value: str | None) -> None:
    if value is None:
        return
    source = "dsn, or LQ_POSTGRES_DSN," if name == "dsn" else name
    if not SCHEME.match(value):
        if not value.strip():
            raise ConfigurationError(f"{name} is empty. Does it come from an environment variable that is not set?")
        raise ConfigurationError(f"{source} must begin with 'postgresql://'; it is {without_secrets(value)!r}.")
    _ = read_address(value, source=source)
