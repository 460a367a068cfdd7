"""Opens connections at an address, and sets up their sessions."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from math import ceil
from ssl import SSLContext
from typing import Final, TypeVar, cast

import asyncpg
from asyncpg import exceptions

from lq_core.foundation.errors import ConfigurationError, QueueError, StorageError
from lq_core.foundation.new_thread import in_new_thread
from lq_postgres.connection.address import UNREADABLE, Address, Place, read_address
from lq_postgres.connection.config import PostgresConfig
from lq_postgres.connection.driver import Connection
from lq_postgres.connection.session import newer_settings, setting, startup_settings, turning_off

Answer = TypeVar("Answer")

CACHE: Final = 100
"""The number of prepared statements that one connection keeps."""

NAME: Final = "lq"
"""The ``application_name`` of connections, unless the address gives another one."""

_REFUSED: Final = exceptions.InvalidAuthorizationSpecificationError
_UNKNOWN_SETTINGS: Final = (exceptions.UndefinedObjectError, exceptions.CantChangeRuntimeParamError)
_OTHERS_MAY_ANSWER: Final = (OSError, exceptions.CannotConnectNowError, exceptions.TargetServerAttributeNotMatched)
_OF_THE_DRIVER: Final = (exceptions.PostgresError, exceptions.InterfaceError, OSError, QueueError)


class Opener:
    """Opens the connections of one configuration."""

    def __init__(self, config: PostgresConfig) -> None:
        self._config = config
        self._is_given = config.connect is not None or config.pool is not None
        address = Address(dsn=None, places=(), options={}) if self._is_given else read_address(config.dsn)
        self._address = address
        self._listen_address = read_address(config.listen_dsn, source="listen_dsn") if config.listen_dsn else address
        self.keeps_sessions: Final = config.statement_cache and self._address.keeps_sessions
        """Whether a session lasts as long as its connection, so that it can keep statements and settings."""

    async def open(self) -> Connection:
        """Open a connection for statements."""
        return await self._open_at(self._address) if self._config.connect is None else await self._given()

    async def open_to_listen(self) -> Connection:
        """Open a connection to listen, at *listen_dsn* if it is set."""
        if self._config.connect is not None and self._config.listen_dsn is None:
            return await self._given()
        return await self._open_at(self._listen_address, suffix=" (listening)")

    async def open_apart(self) -> Connection:
        """Open a connection in another event loop, where a pool or a connector of the application may not work."""
        is_elsewhere = self._is_given and self._config.listen_dsn is not None
        return await (self._open_at(self._listen_address) if is_elsewhere else self.open())

    async def _given(self) -> Connection:
        config = self._config
        assert config.connect is not None
        async with asyncio.timeout(config.connect_timeout):
            connection = cast("object", await _answer("connect", config.connect))
        if not isinstance(connection, Connection):
            raise ConfigurationError(
                f"PostgresConfig(connect=...) has returned {connection!r}; it must return a connection of asyncpg."
            )
        if not self.keeps_sessions:
            return connection
        settings = startup_settings(command_timeout=config.command_timeout)
        return await _set_up(connection, setting({**settings, **newer_settings(connection.get_server_version()[0])}))

    async def _open_at(self, address: Address, *, suffix: str = "") -> Connection:
        password = await self._password()
        try:
            connection = await self._find(address, password, suffix)
        except _REFUSED as error:
            if not callable(self._config.password):
                raise
            # It may have changed just now. The same one is not tried again, because servers count failures.
            again = await self._password()
            if again == password:
                raise StorageError(
                    f"PostgreSQL: {error}. The password came from PostgresConfig(password=...)."
                ) from error
            connection = await self._find(address, again, suffix)
        newer = newer_settings(connection.get_server_version()[0])
        keeps = self._config.statement_cache and address.keeps_sessions
        return await _set_up(connection, turning_off(newer)) if keeps and newer else connection

    async def _find(self, address: Address, password: str | None, suffix: str) -> Connection:
        """Connect to the first server that answers; of several, to one that can be written to."""
        failures, cause = list[str](), None
        for place in address.places:
            try:
                return await self._connect(address, place, password, suffix)
            except _OTHERS_MAY_ANSWER as error:
                if len(address.places) == 1 and not place.is_socket:
                    raise  # Its message names the server.
                failures.append(f"{place}: {str(error) or type(error).__name__}")
                cause = error
        if not failures:
            return await self._connect(address, None, password, suffix)
        advice = "" if len(failures) > 1 else ". Does the server, or the proxy of its provider, have its socket there?"
        raise StorageError(f"PostgreSQL: {'; '.join(failures)}{advice}") from cause

    async def _connect(self, address: Address, place: Place | None, password: str | None, suffix: str) -> Connection:
        config = self._config
        settings = {"application_name": f"{address.application_name or NAME}{suffix}"}
        keeps = config.statement_cache and address.keeps_sessions
        if keeps:
            settings |= startup_settings(command_timeout=config.command_timeout)
        try:
            ssl = config.ssl if isinstance(config.ssl, SSLContext) else address.ssl or config.ssl
            connection = await asyncpg.connect(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- asyncpg has no types
                address.dsn,
                host=None if place is None else [place.host],
                port=None if place is None else [place.port],
                password=password,
                ssl=ssl,
                timeout=ceil(address.connect_timeout or config.connect_timeout),
                command_timeout=config.command_timeout,
                server_settings=settings,
                statement_cache_size=CACHE if keeps else 0,
                target_session_attrs="read-write" if address.must_be_writable else None,
            )
        except FileNotFoundError as error:
            if missing := address.missing_files():
                raise StorageError(f"PostgreSQL: there is no file {missing}.") from error
            raise
        except _UNKNOWN_SETTINGS as error:
            advice = "If the address has it as an option, leave the option out."
            raise StorageError(f"PostgreSQL: {error}. {advice}", is_permanent=True) from error
        except (asyncpg.InterfaceError, OSError):  # Some of these are also a ValueError, with a good message.
            raise
        except (ValueError, OverflowError):
            # The original message may contain a part of the password.
            raise StorageError(UNREADABLE, is_permanent=True) from None
        return cast("Connection", connection)

    async def _password(self) -> str | None:
        given = self._config.password
        if given is None or isinstance(given, str):
            return given
        async with asyncio.timeout(self._config.connect_timeout):
            found = cast("object", await _answer("password", given))
        if not isinstance(found, str):
            kind = type(found).__name__
            raise ConfigurationError(f"PostgresConfig(password=...) has returned a value of type {kind}, not text.")
        return found


async def _set_up(connection: Connection, statements: str) -> Connection:
    try:
        _ = await connection.execute(statements)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def _answer(name: str, call: Callable[[], Answer | Awaitable[Answer]]) -> Answer:
    """Call a function of the application; a plain one in a thread, because it may block."""
    try:
        made = call() if inspect.iscoroutinefunction(call) else await in_new_thread(call)
        return await made if inspect.isawaitable(made) else cast("Answer", made)
    except _OF_THE_DRIVER:
        raise
    except Exception as error:
        raise StorageError(f"PostgresConfig({name}=...) raised {type(error).__name__}: {error}") from error
