"""The plugin adds the dashboard to the application, below its path and behind its guards."""

import json
import re
from uuid import UUID

import pytest
from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath
from litestar.testing import TestClient

from lq_core import ConfigurationError, QueueConfig, QueueService, RecordView, task
from lq_litestar import QueuePlugin
from lq_web import WebConfig, recent
from lq_web.config import Connection

MEMORY = QueueConfig(queue_backend="memory")


def needs_a_name(connection: Connection, _: BaseRouteHandler) -> None:
    if "x-name" not in connection.headers:
        raise NotAuthorizedException("Say who you are.")


def test_the_dashboard_is_in_the_application_behind_its_guards() -> None:
    web = WebConfig(path="/office/queues", guards=(needs_a_name,))
    with TestClient(Litestar(plugins=[QueuePlugin(MEMORY, web=web)])) as client:
        stranger = client.get("/office/queues/")
        page = client.get("/office/queues/", headers={"x-name": "Ada"})

    assert stranger.status_code == 401
    assert page.status_code == 200
    assert "Workers alive" in page.text


def test_the_first_page_finds_what_has_been_counted_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "LARGE", -1)  # As if every store had very many records, and every answer took long.
    monkeypatch.setattr(recent, "SLOW", -1.0)
    monkeypatch.setattr(recent, "TIMES", 10**9)
    monkeypatch.setattr(recent, "OUTDATED", 10**9)
    plugin = QueuePlugin(MEMORY, worker=False, web=WebConfig(open_to_everyone=True))

    async def begin() -> None:
        await plugin.service.enqueue(greet, "Ada")

    with TestClient(Litestar(plugins=[plugin], on_startup=[begin])) as client:
        first = client.get("/queues/queues").text

    assert re.search(r"These numbers were counted \d+ (ms|s) ago.", first)


def test_an_unguarded_dashboard_starts_only_in_debug_mode() -> None:
    plugin = QueuePlugin(MEMORY, web=WebConfig())

    with pytest.raises(ConfigurationError, match="no guards"):
        Litestar(plugins=[plugin])
    with TestClient(Litestar(plugins=[plugin], debug=True)) as client:
        assert client.get("/queues/").status_code == 200


def test_settings_of_the_dashboard_that_are_not_a_web_config_are_refused() -> None:
    class Lookalike:
        path = "/queues"

        def check(self, *, debug: bool) -> None:
            """Accept everything."""

    with pytest.raises(ConfigurationError, match=r"give a lq_web\.WebConfig"):
        Litestar(plugins=[QueuePlugin(MEMORY, web=Lookalike())])


def test_the_dashboard_of_an_application_stays_out_of_its_error_pages() -> None:
    with TestClient(Litestar(plugins=[QueuePlugin(MEMORY, web=WebConfig(open_to_everyone=True))])) as client:
        answer = client.get("/elsewhere", headers={"accept": "text/html"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


@task(name="dashboard.greet")
async def greet(name: str) -> dict[str, str]:
    return {"greeting": f"Hello, {name}."}


@get("/greetings/{record_id:uuid}")
async def greeting(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> RecordView:
    return RecordView.of(await queue_service.wait(record_id, timeout=10))


@post("/greetings/{name:str}")
async def enqueue_greeting(name: FromPath[str], queue_service: NamedDependency[QueueService]) -> UUID:
    return (await queue_service.enqueue(greet, name)).id


def test_a_handler_returns_a_record_with_its_values_decoded() -> None:
    with TestClient(Litestar([enqueue_greeting, greeting], plugins=[QueuePlugin(MEMORY)])) as client:
        record = client.get(f"/greetings/{client.post('/greetings/Ada').json()}").json()

    assert (record["arguments"], record["result"]) == ({"name": "Ada"}, {"greeting": "Hello, Ada."})


def test_the_schema_of_an_application_with_all_of_it_is_made_without_a_warning() -> None:
    app = Litestar([greeting], plugins=[QueuePlugin(MEMORY, web=WebConfig(open_to_everyone=True))])

    schema = json.dumps(app.openapi_schema.to_schema())

    assert {"/greetings/{record_id}", "/queues/api/overview"} <= set(json.loads(schema)["paths"])
    assert "QueuedTaskRecord" not in schema
