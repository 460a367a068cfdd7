"""The PostgreSQL queue backend of lq: ``QueueConfig(queue_backend=PostgresConfig(dsn="postgresql://…"))``."""

from lq_postgres.backend import PostgresQueueBackend
from lq_postgres.connection.config import PostgresConfig
from lq_postgres.connection.driver import Connect, Connection, PasswordSource, Pool, Row
from lq_postgres.upkeep.schema import Migration

__all__ = [
    "Connect",
    "Connection",
    "Migration",
    "PasswordSource",
    "Pool",
    "PostgresConfig",
    "PostgresQueueBackend",
    "Row",
]
