"""The plugin adds the dashboard to the application, below its path and behind its guards."""

import pytest
from litestar import Litestar
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.testing import TestClient

from lq_core import ConfigurationError, QueueConfig
from lq_litestar import QueuePlugin
from lq_web import WebConfig
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


def test_an_unguarded_dashboard_starts_only_in_debug_mode() -> None:
    plugin = QueuePlugin(MEMORY, web=WebConfig())

    with pytest.raises(ConfigurationError, match="no guards"):
        Litestar(plugins=[plugin])
    with TestClient(Litestar(plugins=[plugin], debug=True)) as client:
        assert client.get("/queues/").status_code == 200


def test_the_dashboard_of_an_application_stays_out_of_its_error_pages() -> None:
    with TestClient(Litestar(plugins=[QueuePlugin(MEMORY, web=WebConfig(open_to_everyone=True))])) as client:
        answer = client.get("/elsewhere", headers={"accept": "text/html"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
