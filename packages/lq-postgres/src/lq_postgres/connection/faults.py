"""The errors of the driver, as errors of lq with advice."""

from socket import EAI_NONAME, gaierror
from types import TracebackType
from typing import Final

from asyncpg import exceptions

from lq_core.foundation.errors import DuplicateRecordError, SchemaError, StorageError
from lq_postgres.connection.sqlstates import NOTIFY_QUEUE_FULL, READ_ONLY, UNKNOWN, VERDICTS, Blame, key_of

_SOURCES: Final = (
    "lq takes the address from PostgresConfig(dsn=...), then from LQ_POSTGRES_DSN, then from DATABASE_URL if it is a "
    "PostgreSQL address, then from PGHOST and PGPORT."
)

MIGRATE: Final = "lq migrate --config module:config"
"""The command that brings the schema up to date."""

_ADVICE: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ConnectionRefusedError, f"Does the server run? {_SOURCES}"),
    (gaierror, f"Is the name of the host correct? In a password, write @ as %40. {_SOURCES}"),
    (TimeoutError, "The database did not answer in time. Is the server reachable, and is the pool large enough?"),
    (
        exceptions.TargetServerAttributeNotMatched,
        "None of the servers of the DSN is what its target_session_attrs asks for.",
    ),
)
"""Advice for errors that do not come from the server."""

_OF_THE_DATABASE: Final = (
    exceptions.PostgresError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    OSError,
)

_PERMANENT: Final = ("28", "3D", "42501")
"""
A wrong user, password or database, or a role without a permission. An unknown host is permanent too, but not a name
server that does not answer.
"""

MISSING: Final = frozenset({"3F000", "42P01", "42703"})
"""The ``sqlstate`` of a missing schema, table or column, in every driver."""


_REFUSALS: Final = ("no more connections allowed", "too many clients", "too many connections")
"""What PgBouncer says as a ``ProtocolViolationError`` when it, or the server behind it, has no connection left."""


def refuses_connections(error: BaseException) -> bool:
    """Whether the server refused a connection because there are too many; then those that are open still work."""
    if isinstance(error, exceptions.ProtocolViolationError):
        return any(words in str(error) for words in _REFUSALS)
    return isinstance(error, exceptions.TooManyConnectionsError)


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of an error of PostgreSQL, also of one that asyncpg makes itself; None for others."""
    # In asyncpg, errors of the classes 01 and 02 are not PostgresErrors.
    return getattr(error, "sqlstate", None)


class ReadOnlyServerError(StorageError):
    """The server has refused to write, and so has done nothing; another server may be the primary now."""


class NotifyQueueFullError(StorageError):
    """The server has no room for a notification, and so has done nothing."""


_KINDS: Final = {READ_ONLY: ReadOnlyServerError, NOTIFY_QUEUE_FULL: NotifyQueueFullError}


def spoils(error: BaseException) -> bool:
    """Whether a connection is of no more use after *error*; it may still run a statement, or have another server."""
    return (
        sqlstate_of(error) is None
        or getattr(error, "severity_en", None) in {"FATAL", "PANIC"}
        or VERDICTS.get(_key_of(error), UNKNOWN).blame is Blame.CONNECTION
    )


class _StorageErrors:
    """
    Turns the errors of the driver into errors of lq.

    This is a class because a generator would double the cost around a statement.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (ours := _as_ours(error)) is not None:
            try:
                raise ours from error
            finally:
                del ours  # Its traceback holds this frame.


storage_errors: Final = _StorageErrors()


def _as_ours(error: BaseException) -> Exception | None:
    """Make an error of lq of an error of the driver; None for all other errors."""
    if (sqlstate := sqlstate_of(error)) is not None:
        return _of_the_server(error, sqlstate)
    if isinstance(error, ValueError) and isinstance(error, exceptions.InterfaceError):
        if not isinstance(error, exceptions.ClientConfigurationError):
            return ValueError(f"PostgreSQL cannot store this record: {error}")  # The driver cannot encode a value.
    elif not isinstance(error, _OF_THE_DATABASE):
        return None
    advice = next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    return StorageError(_told(error, advice), is_permanent=getattr(error, "errno", None) == EAI_NONAME)


def _of_the_server(error: BaseException, sqlstate: str) -> Exception:
    if sqlstate == "23505":
        return DuplicateRecordError(str(error))
    if sqlstate in MISSING:
        return SchemaError(f"{error}. The schema is missing or too old. Run: {MIGRATE}")
    key = _key_of(error)
    blame, advice = VERDICTS.get(key, UNKNOWN)
    if blame is Blame.RECORD:
        return ValueError(f"PostgreSQL cannot store this record: {error}")
    return _KINDS.get(key, StorageError)(_told(error, advice), is_permanent=sqlstate.startswith(_PERMANENT))


def _key_of(error: BaseException) -> str:
    return key_of(sqlstate_of(error) or "", raised_by=getattr(error, "server_source_function", None))


def _told(error: BaseException, advice: str) -> str:
    what = f"PostgreSQL: {str(error) or type(error).__name__}"
    return f"{what}. {advice}" if advice else what
