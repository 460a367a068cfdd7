"""Nobody sees or changes more than they may, whatever a record contains."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from msgspec.structs import replace

from lq_core import ConfigurationError, NonRetryable, QueueConfig, QueuedTaskRecord, task
from lq_core.testing import QueueTestbed
from lq_web import Role, WebConfig, create_app
from lq_web.config import Connection


@task(name="vault.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="vault.break", queue="mail")
async def break_down(reason: str) -> None:
    raise NonRetryable(reason)


Browse = Callable[[WebConfig], Awaitable[httpx.AsyncClient]]
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_an_application_of_its_own_shows_one_store() -> None:
    config = QueueConfig(queue_backend="memory", stores={"bulk": "memory"})
    with pytest.raises(ConfigurationError, match="several: main, bulk"):
        create_app(config, WebConfig(open_to_everyone=True))
    assert create_app(config.of_store("bulk"), WebConfig(open_to_everyone=True))


def refuse(_: Connection, __: BaseRouteHandler) -> None:
    raise NotAuthorizedException("Log in first.")


def only_reads(_: Connection) -> Role:
    return Role.READ


def without_names(record: QueuedTaskRecord) -> QueuedTaskRecord:
    return replace(record, arguments='{"name":"[removed]"}')


@pytest.mark.parametrize("web", [WebConfig(), None])
def test_it_does_not_start_unguarded(web: WebConfig | None) -> None:
    with pytest.raises(ConfigurationError, match=r"no guards.*WebConfig\(guards=\[requires_admin\]\)"):
        create_app(config=web)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"path": "queues"}, "path is 'queues'"),
        ({"path": "/queues/"}, "path is '/queues/'"),
        ({"guards": ["admin"]}, "guards is"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        WebConfig(**wrong)


@pytest.mark.parametrize("path", ["/queues/", "/queues/records", "/queues/api/overview", "/queues/static/lq.css"])
async def test_a_guard_protects_every_route(bed: QueueTestbed, browse: Browse, path: str) -> None:
    browser = await browse(WebConfig(guards=(refuse,)))
    answer = await browser.get(path)

    assert answer.status_code == 401
    assert "Log in first." in answer.text


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "http://evil.test"}]
)
async def test_another_site_cannot_change_anything(bed: QueueTestbed, browse: Browse, headers: dict[str, str]) -> None:
    sent = await bed.service.enqueue(greet, "Ada")
    browser = await browse(WebConfig(open_to_everyone=True))
    if "origin" in headers:
        del browser.headers["sec-fetch-site"]
    answer = await browser.post(f"/queues/records/{sent.id}/cancel", headers=headers)

    assert answer.status_code == 403
    record = await bed.service.get(sent.id)
    assert record is not None
    assert record.status == "pending"


async def test_a_reader_changes_nothing_and_sees_no_traceback(bed: QueueTestbed, browse: Browse) -> None:
    sent = await bed.service.enqueue(break_down, "no paper")
    await bed.drain()
    browser = await browse(WebConfig(open_to_everyone=True, role=only_reads))
    page = (await browser.get(f"/queues/records/{sent.id}")).text
    view = (await browser.get(f"/queues/api/records/{sent.id}")).json()
    refused = await browser.post(f"/queues/api/records/{sent.id}/retry")

    assert refused.status_code == 403
    assert "no paper" in page
    assert "<form" not in page
    assert "Traceback" not in page + str(view)


async def test_an_operator_sees_the_traceback(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(break_down, "no paper")
    await bed.drain()

    assert "Traceback (most recent call last)" in (await browser.get(f"/queues/records/{sent.id}")).text


async def test_secrets_are_removed_before_anyone_sees_them(bed: QueueTestbed, browse: Browse) -> None:
    sent = await bed.service.enqueue(greet, "secret")
    browser = await browse(WebConfig(open_to_everyone=True, redact=without_names))
    for path in (f"/queues/records/{sent.id}", f"/queues/api/records/{sent.id}"):
        text = (await browser.get(path)).text
        assert "[removed]" in text
        assert "secret" not in text


async def test_what_a_record_contains_is_text(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(break_down.using(queue=HOSTILE, key=HOSTILE, metadata={"tag": HOSTILE}), HOSTILE)
    await bed.drain()

    for path in ("", "records", f"records/{sent.id}", "queues", "schedules", "workers"):
        page = await browser.get(
            f"/queues/{path}", params={"task": HOSTILE, "key": HOSTILE} if path == "records" else {}
        )
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text


async def test_every_page_keeps_to_itself(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/queues/")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert "http" not in page.text.replace("http://queues.test", "")


async def test_an_action_is_logged_with_its_actor(
    bed: QueueTestbed, browse: Browse, caplog: pytest.LogCaptureFixture
) -> None:
    sent = await bed.service.enqueue(greet, "Ada")
    caplog.set_level("INFO", "lq")
    browser = await browse(WebConfig(open_to_everyone=True, actor=lambda _: "grace"))
    await browser.post(f"/queues/records/{sent.id}/cancel")

    [told] = [record for record in caplog.records if record.getMessage().startswith("web.action")]
    assert (told.__dict__["actor"], told.__dict__["action"], told.__dict__["subject"]) == (
        "grace",
        "cancel record",
        str(sent.id),
    )
    [kept] = (await browser.get("/queues/api/actions")).json()
    assert (kept["actor"], kept["action"], kept["subject"]) == ("grace", "cancel record", str(sent.id))
    assert "grace" in (await browser.get("/queues/")).text


async def test_a_search_does_not_reveal_what_is_hidden(bed: QueueTestbed, browse: Browse) -> None:
    await bed.service.enqueue(greet, "a secret name")

    reader = await browse(WebConfig(open_to_everyone=True, role=lambda _: Role.READ))
    refused = await reader.get("/queues/api/records", params={"text": "secret"})
    listed = await reader.get("/queues/api/records", params={"status": "pending"})
    hidden = await browse(WebConfig(open_to_everyone=True, redact=lambda record: replace(record, arguments="{}")))
    guessed = await hidden.get("/queues/api/records", params={"text": "secret"})

    assert (refused.status_code, len(listed.json()["records"])) == (403, 1)
    assert (guessed.status_code, guessed.json()["records"]) == (200, [])


async def test_of_a_user_only_the_name_is_kept() -> None:
    @dataclass
    class Person:
        username: str
        password_hash: str

    scope: Any = {"type": "http", "user": Person("grace", "secret"), "client": ("10.0.0.1", 1), "headers": []}
    nameless: Any = {**scope, "user": object()}
    text: Any = {**scope, "user": "ada"}

    assert WebConfig().actor(ASGIConnection(scope)) == "grace"
    assert WebConfig().actor(ASGIConnection(nameless)) == "object"
    assert WebConfig().actor(ASGIConnection(text)) == "ada"
