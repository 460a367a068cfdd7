"""
What this package asks of asyncpg, which has no types of its own, and the only place that calls it.

A connection of asyncpg, and one that a pool has lent, both are a :class:`Connection`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from math import ceil
from ssl import SSLContext
from typing import Any, Final, Protocol, cast, overload

import asyncpg

CACHE: Final = 100
"""How many prepared statements one connection keeps."""


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

    def transaction(self) -> AbstractAsyncContextManager[object]:
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


class Pool(Protocol):
    """A pool of connections: ``asyncpg.Pool``."""

    def acquire(self, *, timeout: float | None = None) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection."""
        ...

    async def close(self) -> None:
        """Wait for the lent connections, and close all."""
        ...

    def terminate(self) -> None:
        """Close all connections without a word."""
        ...

    async def expire_connections(self) -> None:
        """Let no connection that is open now be lent again."""
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


async def open_pool(
    dsn: str | None,
    *,
    min_size: int,
    max_size: int,
    ssl: SSLContext | str | bool | None,
    connect_timeout: float,
    command_timeout: float,
    statement_cache: bool,
    settings: dict[str, str],
) -> Pool:
    """Open a pool whose connections are handed on as they are: nothing here leaves state in a session."""
    pool = await asyncpg.create_pool(  # pyright: ignore[reportUnknownMemberType] -- asyncpg has no types
        dsn,
        min_size=min_size,
        max_size=max_size,
        ssl=ssl,
        timeout=connect_timeout,
        command_timeout=command_timeout,
        server_settings=settings,
        reset=_leave_as_it_is,
        statement_cache_size=CACHE if statement_cache else 0,
    )
    return cast("Pool", pool)


async def connect(
    dsn: str | None,
    *,
    ssl: SSLContext | str | bool | None,
    connect_timeout: float,
    settings: dict[str, str],
) -> Connection:
    """Open one connection, apart from any pool, that keeps no prepared statements."""
    connection = await asyncpg.connect(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- as above
        dsn,
        ssl=ssl,
        timeout=ceil(connect_timeout),
        server_settings=settings,
        statement_cache_size=0,
    )
    return cast("Connection", connection)


async def _leave_as_it_is(connection: object) -> None:
    """Replace the round trip in which a pool resets a connection that it gets back."""
