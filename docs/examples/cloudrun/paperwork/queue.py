"""The queue of the office: PostgreSQL if DATABASE_URL is set, otherwise the SQLite file ``paperwork.db``."""

import os

from lq_core import QueueConfig
from lq_core.queue.sqlite import SQLiteConfig

config = QueueConfig(
    queue_backend="postgres" if "DATABASE_URL" in os.environ else SQLiteConfig(path="paperwork.db"),
)
