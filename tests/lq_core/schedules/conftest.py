"""A queue whose clock is set by hand, for the tests in which days pass."""

from collections.abc import AsyncIterator

import pytest

from firing import Clock, Forgetful
from lq_core import QueueConfig, QueueService


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def service(clock: Clock) -> AsyncIterator[QueueService]:
    config = QueueConfig(execution_backend="immediate")
    async with QueueService(config, queue_backend=Forgetful(config, clock=clock)) as service:
        yield service
