"""
Fixtures for the tests of applications; import them in ``conftest.py``: ``from lq_core.testing.fixtures import …``.

They need an async plugin of pytest: anyio, or pytest-asyncio in its mode ``auto``.
"""

from collections.abc import AsyncGenerator

import pytest

from lq_core.testing.testbed import QueueTestbed


@pytest.fixture
async def queue_testbed() -> AsyncGenerator[QueueTestbed]:
    """An open testbed with the default configuration, for one test."""
    async with QueueTestbed() as bed:
        yield bed
