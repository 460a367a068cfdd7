"""
Keeps the records of lq in PostgreSQL.

``QueueConfig(queue_backend=PostgresConfig(dsn="postgresql://…"))`` is all there is to say.
"""

from lq_postgres.backend import PostgresQueueBackend
from lq_postgres.config import PostgresConfig
from lq_postgres.schema import Migration

__all__ = ["Migration", "PostgresConfig", "PostgresQueueBackend"]
