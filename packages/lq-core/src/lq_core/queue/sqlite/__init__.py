"""Records in one SQLite file: durable, shared by the processes of one machine, nothing to install."""

from lq_core.queue.sqlite.backend import SQLiteQueueBackend
from lq_core.queue.sqlite.config import SQLiteConfig

__all__ = ["SQLiteConfig", "SQLiteQueueBackend"]
