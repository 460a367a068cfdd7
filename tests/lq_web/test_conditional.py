"""A page that has not changed is not made again, and whoever may not see it learns nothing."""

from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import pytest
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler

from lq_core import QueueConfig, QueueService, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_web import Role, WebConfig, conditional, create_app
from lq_web.config import Connection


@task(name="conditional.greet")
async def greet(name: str) -> str:
    return f"Hello, {name}."


def needs_a_name(connection: Connection, _: BaseRouteHandler) -> None:
    if "x-name" not in connection.headers:
        raise NotAuthorizedException("Say who you are.")


def role_of(connection: Connection) -> Role:
    return Role.OPERATE if connection.headers["x-name"] == "Ada" else Role.READ


@pytest.fixture(params=["memory", "sqlite"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[QueueService]:
    store = SQLiteConfig(path=tmp_path / "lq.db") if request.param == "sqlite" else "memory"
    async with QueueService(QueueConfig(queue_backend=store)) as service:
        yield service


@pytest.fixture
async def browser(service: QueueService, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[httpx.AsyncClient]:
    monkeypatch.setattr(conditional, "LONGEST", 10**12)  # No test meets the end of a span.
    app = create_app(service, WebConfig(guards=(needs_a_name,), role=role_of))
    transport = httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words
    headers = {"accept": "text/html", "x-name": "Ada"}
    async with httpx.AsyncClient(transport=transport, base_url="http://queues.test", headers=headers) as client:
        yield client


async def again(browser: httpx.AsyncClient, path: str, seen: httpx.Response, **headers: str) -> httpx.Response:
    return await browser.get(path, headers={"if-none-match": seen.headers["etag"], **headers})


@pytest.mark.parametrize("path", ["/queues/", "/queues/records", "/queues/api/overview", "/queues/api/version"])
async def test_an_answer_is_made_again_only_after_a_change(
    service: QueueService, browser: httpx.AsyncClient, path: str
) -> None:
    first = await browser.get(path)
    same = await again(browser, path, first)
    await service.enqueue(greet, "Ada")
    changed = await again(browser, path, first)

    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", first.headers["etag"])
    assert same.headers["cache-control"] == "no-store"
    assert (changed.status_code, changed.headers["etag"] == first.headers["etag"]) == (200, False)
    assert changed.text != first.text


async def test_an_answer_is_made_again_after_a_while_because_ages_grow(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await browser.get("/queues/")
    monkeypatch.setattr(conditional, "LONGEST", 10**9)  # As if another span had begun.

    assert (await again(browser, "/queues/", first)).status_code == 200


async def test_a_tag_is_good_for_one_role_and_never_passes_a_guard(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/queues/")

    assert (await again(browser, "/queues/", first, **{"x-name": "Bo"})).status_code == 200
    assert (await browser.get("/queues/", headers={"x-name": "Bo"})).headers["etag"] != first.headers["etag"]
    browser.headers.pop("x-name")
    assert (await again(browser, "/queues/", first)).status_code == 401


async def test_what_is_refused_or_static_has_no_version(browser: httpx.AsyncClient) -> None:
    missing = await browser.get("/queues/api/records/01a22cbf-d261-7e2f-b3cf-0739d6aa2691")
    style = await browser.get("/queues/static/lq.css")

    assert (missing.status_code, "etag" in missing.headers) == (404, False)
    assert not style.headers["etag"].startswith("W/")
