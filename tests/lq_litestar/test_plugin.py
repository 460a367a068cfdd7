"""What the plugin gives an application: its tasks run, handlers get the service, and errors of lq become responses."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.testing import AsyncTestClient, TestClient

from doubling import application, double_over_http, enqueue_by_name
from lq_core import (
    ConfigurationError,
    DuplicateKeyError,
    PayloadTooLargeError,
    QueueConfig,
    QueueError,
    QueueService,
    RecordNotFoundError,
    StorageError,
    WaitTimeoutError,
)
from lq_core.records.identity import new_id
from lq_litestar import QueuePlugin


def test_a_handler_enqueues_and_the_worker_in_the_application_runs_it(config: QueueConfig) -> None:
    with TestClient(application(QueuePlugin(config))) as client:
        assert double_over_http(client, 21) == "42"


async def test_it_works_under_the_async_test_client(config: QueueConfig) -> None:
    async with AsyncTestClient(application(QueuePlugin(config))) as client:
        record_id: str = (await client.post("/double/21")).json()
        assert (await client.get(f"/results/{record_id}")).text == "42"


def test_records_in_memory_need_nothing_else() -> None:
    with TestClient(application(QueuePlugin(QueueConfig(queue_backend="memory")))) as client:
        assert double_over_http(client, 21) == "42"


def test_without_a_configuration_records_are_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with TestClient(application(QueuePlugin())) as client:
        assert double_over_http(client, 21) == "42"

    assert (tmp_path / "lq.db").exists()


def test_the_tasks_of_the_configured_modules_are_found(
    config: QueueConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mail_tasks.py").write_text(
        "from lq_core import task\n@task(name='mail.shout')\ndef shout(text: str) -> str:\n    return text.upper()\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    app = application(QueuePlugin(replace(config, task_modules=("mail_tasks",))))

    with TestClient(app) as client:
        record_id: str = client.post("/tasks/mail.shout?number=hello").json()
        assert client.get(f"/results/{record_id}").text == '"HELLO"'


def test_records_are_described_in_the_schema_of_the_application(config: QueueConfig) -> None:
    with TestClient(application(QueuePlugin(config))) as client:
        schema = client.get("/schema/openapi.json").json()

    assert "QueuedTaskRecord" in str(schema["paths"]["/records/{record_id}"]["get"]["responses"]["200"])
    assert "queue_service" not in str(schema)


def test_another_name_can_be_injected(config: QueueConfig) -> None:
    @get("/")
    async def address(jobs: NamedDependency[QueueService]) -> str:
        return jobs.queue_backend.address

    with TestClient(Litestar([address], plugins=[QueuePlugin(config, dependency_key="jobs")])) as client:
        assert client.get("/").text.endswith("lq.db")


def test_a_name_that_is_taken_is_refused(config: QueueConfig) -> None:
    with pytest.raises(ConfigurationError, match="QueuePlugin\\(dependency_key="):
        Litestar(dependencies={"queue_service": lambda: 1}, plugins=[QueuePlugin(config)])


@pytest.mark.parametrize(
    "error, status, detail",
    [
        (RecordNotFoundError(new_id()), 404, "There is no record"),
        (DuplicateKeyError("welcome:1", new_id()), 409, "holds the key 'welcome:1'"),
        (PayloadTooLargeError("A call of mail", 2_000, 1_000), 413, "the limit is 1,000"),
        (WaitTimeoutError(new_id(), "running", 1.0), 504, "is running after 1 s"),
        (StorageError("/secret/lq.db cannot be used"), 503, "The queue is not available."),
        (QueueError("a secret of the application"), 500, "Internal Server Error"),
    ],
)
def test_errors_of_lq_become_responses(config: QueueConfig, error: QueueError, status: int, detail: str) -> None:
    @get("/")
    async def refuse() -> None:
        raise error

    with TestClient(Litestar([refuse], plugins=[QueuePlugin(config)]), raise_server_exceptions=False) as client:
        answer = client.get("/")

    assert (answer.status_code, detail in answer.json()["detail"]) == (status, True)
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "path, told", [("plugin.duoble?number=1", "plugin.double"), ("plugin.double?number=one", "number")]
)
def test_a_fault_of_the_application_is_logged_and_not_blamed_on_the_client(
    config: QueueConfig, caplog: pytest.LogCaptureFixture, path: str, told: str
) -> None:
    app = Litestar([enqueue_by_name], plugins=[QueuePlugin(config)], logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post(f"/tasks/{path}")

    assert (answer.status_code, answer.json()["detail"]) == (500, "Internal Server Error")
    assert told in caplog.text


def test_errors_of_lq_use_the_handler_for_http_errors_of_the_application(config: QueueConfig) -> None:
    problems = ProblemDetailsPlugin(ProblemDetailsConfig(enable_for_all_http_exceptions=True))

    with TestClient(application(problems, QueuePlugin(config))) as client:
        answer = client.get(f"/results/{new_id()}")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_application_can_handle_errors_of_lq_itself(config: QueueConfig) -> None:
    def teapot(_: Request[object, object, State], __: QueueError) -> Response[str]:
        return Response("teapot", status_code=418)

    app = Litestar([enqueue_by_name], plugins=[QueuePlugin(config)], exception_handlers={QueueError: teapot})

    with TestClient(app) as client:
        assert client.post("/tasks/nothing?number=1").status_code == 418


def test_the_environment_configures_a_plugin_without_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LQ_QUEUE_BACKEND", "memory")
    monkeypatch.setenv("LQ_IN_APP_WORKER", "false")
    plugin = QueuePlugin()

    with TestClient(application(plugin)) as client:
        record = client.get(f"/records/{client.post('/double/21').json()}").json()

    assert (plugin.config.queue_backend, plugin.worker, record["status"]) == ("memory", False, "pending")
    assert QueuePlugin(worker=True).worker
