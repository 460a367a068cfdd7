"""
Fixtures for the tests of an application; its ``conftest.py`` takes them: ``from lq_core.testing.fixtures import …``.

They need pytest-asyncio, which the extra ``lq-core[testing]`` brings.
"""

from collections.abc import AsyncGenerator

import pytest_asyncio

from lq_core.testing.testbed import QueueTestbed


@pytest_asyncio.fixture
async def queue_testbed() -> AsyncGenerator[QueueTestbed]:
    """An open testbed with the default configuration, for one test."""
    async with QueueTestbed() as bed:
        yield bed
