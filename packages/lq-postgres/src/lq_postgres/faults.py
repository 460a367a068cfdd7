"""What can go wrong between us and the database, said so that somebody knows what to do."""

from collections.abc import Generator
from contextlib import contextmanager
from socket import gaierror
from typing import Final

from asyncpg import exceptions

from lq_core.errors import DuplicateRecordError, SchemaError, StorageError

ADVICE: Final[tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...]] = (
    (exceptions.InvalidAuthorizationSpecificationError, "Check the user and the password of the DSN."),
    (exceptions.InvalidCatalogNameError, "Create the database, or correct its name in the DSN."),
    (exceptions.InsufficientPrivilegeError, "Grant the role what docs/postgres.md lists for it."),
    (exceptions.TooManyConnectionsError, "Lower PostgresConfig(max_connections=...), or put PgBouncer between."),
    (exceptions.DiskFullError, "Free space on the database server."),
    (exceptions.QueryCanceledError, "The statement took too long: see `lq doctor`."),
    (exceptions.ReadOnlySQLTransactionError, "The server is a standby or read-only: give the address of the primary."),
    (
        exceptions.DuplicatePreparedStatementError,
        "This is PgBouncer in transaction mode: set PostgresConfig(statement_cache=False).",
    ),
    (
        exceptions.InvalidSQLStatementNameError,
        "This is PgBouncer in transaction mode: set PostgresConfig(statement_cache=False).",
    ),
    (
        exceptions.ProtocolViolationError,
        "If this is PgBouncer, set PostgresConfig(statement_cache=False).",
    ),
    (
        (ConnectionRefusedError, gaierror),
        "Does the server run? Its address comes from PostgresConfig(dsn=...), LQ_POSTGRES_DSN or DATABASE_URL.",
    ),
)

# What the record is to blame for, and not the database: such a record fails alone.
_THE_RECORD: Final = (
    exceptions.DataError,
    exceptions.IntegrityConstraintViolationError,
    exceptions.ProgramLimitExceededError,
)


@contextmanager
def told_as_storage_errors() -> Generator[None]:
    """Turn what the driver raises into the errors of lq."""
    try:
        yield
    except exceptions.UniqueViolationError as error:
        raise DuplicateRecordError(str(error)) from error
    except _THE_RECORD as error:
        raise ValueError(f"PostgreSQL cannot keep this record: {error}") from error
    except (
        exceptions.UndefinedTableError,
        exceptions.UndefinedColumnError,
        exceptions.InvalidSchemaNameError,
    ) as error:
        raise SchemaError(f"{error}. The schema is missing or too old here; run: lq migrate") from error
    except (exceptions.PostgresError, exceptions.InterfaceError, exceptions.InternalClientError, OSError) as error:
        raise StorageError(_words(error)) from error


def _words(error: BaseException) -> str:
    what = str(error) or type(error).__name__
    for kind, advice in ADVICE:
        if isinstance(error, kind):
            return f"PostgreSQL: {what}. {advice}"
    if isinstance(error, TimeoutError):
        return "PostgreSQL did not answer in time. Is the server reachable, and is the pool large enough?"
    return f"PostgreSQL: {what}"
