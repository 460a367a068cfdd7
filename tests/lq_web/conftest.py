"""A queue whose clock stands still, with records in every status, and browsers and programs that look at it."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from lq_core import QueueConfig
from lq_core.testing import QueueTestbed
from lq_web import WebConfig, create_app

BROWSER = {"accept": "text/html", "sec-fetch-site": "same-origin"}
Browse = Callable[[WebConfig], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def bed() -> AsyncGenerator[QueueTestbed]:
    async with QueueTestbed(QueueConfig()) as bed:
        yield bed


@pytest.fixture
async def browse(bed: QueueTestbed) -> AsyncGenerator[Browse]:
    """A function that makes a client of the dashboard, which sends what browsers send."""
    async with AsyncExitStack() as clients:

        async def made(web: WebConfig) -> httpx.AsyncClient:
            app = create_app(bed.service, web)
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words
            client = httpx.AsyncClient(transport=transport, base_url="http://queues.test", headers=BROWSER)
            return await clients.enter_async_context(client)

        yield made


@pytest.fixture
async def browser(browse: Browse) -> httpx.AsyncClient:
    return await browse(WebConfig(open_to_everyone=True))
