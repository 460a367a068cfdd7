"""Probes and metrics as routes of the application."""

from pathlib import Path

import pytest
from litestar import Litestar
from litestar.exceptions import NotAuthorizedException
from litestar.handlers.base import BaseRouteHandler
from litestar.testing import TestClient

from lq_core import QueueConfig, QueuedTaskRecord, QueueService, TaskContext
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.tasks.middleware import Proceed
from lq_litestar import QueuePlugin
from lq_web.config import Connection


class Numbers:
    """Metrics as lq_core.observability.prometheus has them, without its extra."""

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        return await proceed()

    async def exposition(self, service: QueueService) -> bytes:
        return f"lq_records {await service.count()}\n".encode()


def needs_a_name(connection: Connection, _: BaseRouteHandler) -> None:
    if "x-name" not in connection.headers:
        raise NotAuthorizedException("Say who you are.")


def application(config: QueueConfig) -> Litestar:
    plugin = QueuePlugin(config)
    return Litestar([plugin.probes("/internal", guards=[needs_a_name])], plugins=[plugin])


MEASURED = QueueConfig(queue_backend="memory", middleware=(Numbers(),))
ADA = {"x-name": "Ada"}


@pytest.mark.parametrize("path, body", [("healthz", "alive\n"), ("readyz", "ready\n"), ("metrics", "lq_records 0\n")])
def test_monitoring_reads_probes_and_metrics_behind_the_guards(path: str, body: str) -> None:
    with TestClient(application(MEASURED)) as client:
        answer = client.get(f"/internal/{path}", headers=ADA)
        stranger = client.get(f"/internal/{path}")

    assert (answer.status_code, answer.text, stranger.status_code) == (200, body, 401)
    assert answer.headers["content-type"].startswith("text/plain")


def test_an_application_without_metrics_has_no_route_for_them() -> None:
    with TestClient(application(QueueConfig(queue_backend="memory"))) as client:
        assert client.get("/internal/metrics", headers=ADA).status_code == 404


def test_an_application_without_its_database_is_alive_but_not_ready_and_names_no_file(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    with TestClient(application(QueueConfig(queue_backend=SQLiteConfig(path=path)))) as client:
        path.rename(tmp_path / "elsewhere.db")
        path.mkdir()
        alive, ready = (client.get(f"/internal/{name}", headers=ADA) for name in ("healthz", "readyz"))
        path.rmdir()
        (tmp_path / "elsewhere.db").rename(path)

    assert (alive.status_code, ready.status_code, ready.text) == (200, 503, "The queue is not available.\n")
