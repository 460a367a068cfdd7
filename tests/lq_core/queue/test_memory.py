"""The memory queue backend passes the suite of queue backends."""

import pytest

from lq_core.queue import BaseQueueBackend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.testing import QueueBackendContract


class TestInMemoryQueueBackend(QueueBackendContract):
    """The suite."""

    @pytest.fixture
    def queue(self) -> BaseQueueBackend:
        """An empty backend."""
        return InMemoryQueueBackend()
