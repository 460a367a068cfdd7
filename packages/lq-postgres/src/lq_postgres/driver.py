"""
What this package asks of asyncpg, which has no types of its own, and the only place that calls it.

A connection of asyncpg, and one that a pool has lent, both are a :class:`Connection`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from math import ceil
from ssl import SSLContext
from typing import Any, Final, Protocol, cast, overload, runtime_checkable

import asyncpg

from lq_core.errors import StorageError

CACHE: Final = 100
"""How many prepared statements one connection keeps."""

UNREADABLE: Final = (
    "The address cannot be read. It is postgresql://user:password@host:port/database, and in the password each of "
    "@ : / ? # [ ] % is written as % and its code: %40 for @."
)


class Row(Protocol):
    """One row: its values in order."""

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: int) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Any]: ...


class Connection(Protocol):
    """One connection to PostgreSQL."""

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:
        """Run a statement and read all its rows."""
        ...

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement, or several without parameters, and tell the command tag."""
        ...

    def transaction(self, *, isolation: str | None = None) -> AbstractAsyncContextManager[object]:
        """Hold a transaction open; a savepoint where there is one already."""
        ...

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open."""
        ...

    def is_closed(self) -> bool:
        """Whether the connection has ended."""
        ...

    async def add_listener(self, channel: str, callback: Callable[..., None]) -> None:
        """Listen; *callback* gets the connection, the process id, the channel and the payload."""
        ...

    def add_termination_listener(self, callback: Callable[[object], None]) -> None:
        """Call *callback* with the connection when it has ended, for whatever reason."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:
        """Say good-bye and close."""
        ...

    def terminate(self) -> None:
        """Close without a word."""
        ...


@runtime_checkable
class Pool(Protocol):
    """A pool of connections: ``asyncpg.Pool``."""

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""
        ...

    def get_size(self) -> int:
        """How many connections are open."""
        ...

    def get_idle_size(self) -> int:
        """How many of them are not lent."""
        ...

    def get_max_size(self) -> int:
        """How many there may be."""
        ...


async def connect(
    dsn: str | None,
    *,
    ssl: SSLContext | str | bool | None,
    connect_timeout: float,
    command_timeout: float,
    statement_cache: bool,
    settings: dict[str, str],
) -> Connection:
    """Open one connection. Raises StorageError for an address that cannot be read, and what asyncpg raises."""
    try:
        connection = await asyncpg.connect(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- asyncpg has no types
            dsn,
            ssl=ssl,
            timeout=ceil(connect_timeout),
            command_timeout=command_timeout,
            server_settings=settings,
            statement_cache_size=CACHE if statement_cache else 0,
        )
    except (asyncpg.InterfaceError, OSError):  # Some are a ValueError as well, and have words that fit.
        raise
    except (ValueError, OverflowError):
        raise StorageError(UNREADABLE) from None  # Its words repeat a part of the address, perhaps of the password.
    return cast("Connection", connection)
