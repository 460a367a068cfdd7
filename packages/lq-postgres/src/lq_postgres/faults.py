"""What can go wrong between us and the database, said so that somebody knows what to do."""

from socket import gaierror
from types import TracebackType
from typing import Final

from asyncpg import exceptions

from lq_core.errors import DuplicateRecordError, SchemaError, StorageError

_SOURCES: Final = (
    "The address comes from PostgresConfig(dsn=...), else from LQ_POSTGRES_DSN, else from DATABASE_URL where that is "
    "PostgreSQL's, else from PGHOST and PGPORT."
)

MIGRATE: Final = "lq migrate --config module:config"
"""What brings the schema up to date; without the configuration, the command would go to its own default file."""

ADVICE: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]] = (
    (exceptions.InvalidAuthorizationSpecificationError, "Check the user and the password of the DSN."),
    (exceptions.InvalidCatalogNameError, "Create the database, or correct its name in the DSN."),
    (exceptions.InsufficientPrivilegeError, "Grant the role what docs/postgres.md lists for it."),
    (exceptions.TooManyConnectionsError, "Lower PostgresConfig(max_connections=...), or put PgBouncer between."),
    (exceptions.DiskFullError, "Free space on the database server."),
    (exceptions.QueryCanceledError, "The statement took too long: see `lq doctor`."),
    (exceptions.ReadOnlySQLTransactionError, "The server is a standby or read-only: give the address of the primary."),
    (
        (exceptions.DuplicatePreparedStatementError, exceptions.InvalidSQLStatementNameError),
        "This is PgBouncer in transaction mode: set PostgresConfig(statement_cache=False).",
    ),
    (exceptions.ProtocolViolationError, "If this is PgBouncer, set PostgresConfig(statement_cache=False)."),
    (ConnectionRefusedError, f"Does the server run? {_SOURCES}"),
    (gaierror, f"Is that the name of the host? In a password, @ is written as %40. {_SOURCES}"),
)

# What the record is to blame for, and not the database: such a record fails alone.
_THE_RECORD: Final = (
    exceptions.DataError,
    exceptions.IntegrityConstraintViolationError,
    exceptions.ProgramLimitExceededError,
)

MISSING: Final = frozenset({"3F000", "42P01", "42703"})
"""What PostgreSQL says, through any driver, of a schema, a table or a column that is not there: as ``sqlstate``."""

_THE_DATABASE: Final = (
    exceptions.PostgresError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    OSError,
)


class _Told:
    """
    Turns what the driver raises within it into the errors of lq.

    A class, since a generator would cost as much again as all else that stands around a statement.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and (told := _as_told(error)) is not None:
            try:
                raise told from error
            finally:
                del told  # Its traceback holds this very frame.


told_as_storage_errors: Final = _Told()


def _as_told(error: BaseException) -> Exception | None:
    """Say in lq's words what the driver has raised; None for what comes from elsewhere."""
    if isinstance(error, exceptions.UniqueViolationError):
        return DuplicateRecordError(str(error))
    if isinstance(error, _THE_RECORD):
        return ValueError(f"PostgreSQL cannot keep this record: {error}")
    if getattr(error, "sqlstate", None) in MISSING:
        return SchemaError(f"{error}. The schema is missing or too old here; run: {MIGRATE}")
    return StorageError(_words(error)) if isinstance(error, _THE_DATABASE) else None


def _words(error: BaseException) -> str:
    what = str(error) or type(error).__name__
    for kind, advice in ADVICE:
        if isinstance(error, kind):
            return f"PostgreSQL: {what}. {advice}"
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time. Is the server reachable, and is the pool large enough?"
    return f"PostgreSQL: {what}"
