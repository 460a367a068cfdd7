"""The plugin in an application under Litestar's own test clients."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest
from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.plugins import PluginProtocol
from litestar.plugins.problem_details import ProblemDetailsConfig, ProblemDetailsPlugin
from litestar.testing import AsyncTestClient, TestClient

from lq_core import (
    INJECTED,
    ConfigurationError,
    DuplicateKeyError,
    PayloadTooLargeError,
    QueueConfig,
    QueuedTaskRecord,
    QueueError,
    QueueService,
    RecordNotFoundError,
    StorageError,
    WaitTimeoutError,
    per_worker,
    task,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records.identity import new_id
from lq_litestar import QueuePlugin


@task(name="plugin.double")
async def double(number: int) -> int:
    return 2 * number


class Rates(NamedTuple):
    usd: int


@task(name="plugin.convert")
async def convert(number: str, rates: Rates = INJECTED) -> int:
    return int(number) * rates.usd


@post("/double/{number:int}")
async def enqueue_double(number: FromPath[int], queue_service: NamedDependency[QueueService]) -> UUID:
    return (await queue_service.enqueue(double, number)).id


@get("/records/{record_id:uuid}")
async def read(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> QueuedTaskRecord | None:
    return await queue_service.get(record_id)


@get("/results/{record_id:uuid}")
async def wait(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> str | None:
    return (await queue_service.wait(record_id, timeout=10)).result


@post("/tasks/{name:str}")
async def enqueue_by_name(
    name: FromPath[str], number: FromQuery[str], queue_service: NamedDependency[QueueService]
) -> UUID:
    return (await queue_service.enqueue_by_name(name, number)).id


@pytest.fixture
def config(tmp_path: Path) -> QueueConfig:
    return QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "lq.db"), poll_interval=0.1)


def application(*plugins: PluginProtocol) -> Litestar:
    return Litestar([enqueue_double, read, wait, enqueue_by_name], plugins=plugins)


def in_process(app: Litestar) -> httpx.ASGITransport:
    return httpx.ASGITransport(app)  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words


def double_over_http(client: TestClient[Litestar], number: int) -> str:
    record_id: str = client.post(f"/double/{number}").json()
    return client.get(f"/results/{record_id}").text


def convert_over_http(client: TestClient[Litestar], number: int) -> str:
    record_id: str = client.post("/tasks/plugin.convert", params={"number": str(number)}).json()
    return client.get(f"/results/{record_id}").text


def test_a_handler_enqueues_and_the_worker_in_the_application_runs_it(config: QueueConfig) -> None:
    with TestClient(application(QueuePlugin(config))) as client:
        assert double_over_http(client, 21) == "42"


def test_values_per_worker_are_open_while_the_application_runs(config: QueueConfig) -> None:
    diary: list[str] = []

    @per_worker
    async def rates() -> AsyncGenerator[Rates, None]:
        diary.append("opened")
        yield Rates(usd=2)
        diary.append("closed")

    with TestClient(application(QueuePlugin(replace(config, providers=(rates,))))) as client:
        diary.append(convert_over_http(client, 3))
        diary.append(convert_over_http(client, 4))

    assert diary == ["opened", "6", "8", "closed"]


async def test_it_works_under_the_async_test_client(config: QueueConfig) -> None:
    async with AsyncTestClient(application(QueuePlugin(config))) as client:
        record_id: str = (await client.post("/double/21")).json()
        assert (await client.get(f"/results/{record_id}")).text == "42"


async def test_it_works_in_the_event_loop_of_the_test(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    app = application(plugin)

    async with app.lifespan(), httpx.AsyncClient(transport=in_process(app), base_url="http://here") as client:
        record_id: str = (await client.post("/double/21")).json()
        record = await plugin.service.wait(UUID(record_id), timeout=10)

    assert record.result == "42"


def test_one_plugin_serves_one_test_client_after_another(config: QueueConfig) -> None:
    app = application(QueuePlugin(config))

    with TestClient(app) as client:
        record_id: str = client.post("/double/1").json()
        assert client.get(f"/results/{record_id}").text == "2"
    with TestClient(app) as client:
        assert client.get(f"/records/{record_id}").json()["status"] == "completed"
        assert double_over_http(client, 2) == "4"


async def test_one_plugin_serves_two_event_loops_at_once(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    one, other = application(plugin), application(plugin)

    async def doubled(number: int) -> int:
        async with other.lifespan():
            return await (await plugin.service.enqueue(double, number)).wait(timeout=10)

    async with one.lifespan():
        assert await asyncio.to_thread(asyncio.run, doubled(1)) == 2
        assert await (await plugin.service.enqueue(double, 2)).wait(timeout=10) == 4


async def test_two_applications_may_share_one_plugin(config: QueueConfig) -> None:
    plugin = QueuePlugin(config)
    one, other = application(plugin), application(plugin)

    async with one.lifespan():
        async with other.lifespan():
            assert await (await plugin.service.enqueue(double, 1)).wait(timeout=10) == 2
        assert await (await plugin.service.enqueue(double, 2)).wait(timeout=10) == 4


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


def test_with_the_worker_off_records_wait_for_another_process(config: QueueConfig) -> None:
    with TestClient(application(QueuePlugin(config, worker=False))) as client:
        record_id: str = client.post("/double/21").json()

    async def workers_and_status() -> tuple[int, str]:
        async with QueueService(config) as queue:
            record = await queue.get(UUID(record_id))
            assert record
            return len(await queue.workers()), record.status

    assert asyncio.run(workers_and_status()) == (0, "pending")


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


def test_a_client_without_a_lifespan_gets_an_error_with_advice(config: QueueConfig) -> None:
    client = TestClient(Litestar([enqueue_double], plugins=[QueuePlugin(config)], debug=True))

    assert "with TestClient(app) as client" in client.post("/double/1").text


async def test_a_queue_that_cannot_be_opened_stops_the_start_of_the_application(tmp_path: Path) -> None:
    (tmp_path / "letter.db").write_text("not a database, but long enough to be taken for one" * 100)
    broken = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "letter.db"))

    with pytest.RaisesGroup(pytest.RaisesExc(StorageError, match="is not an SQLite database")):
        await application(QueuePlugin(broken)).lifespan().__aenter__()


def test_the_lifespan_of_the_user_contains_the_lifespan_of_the_queue(config: QueueConfig) -> None:
    seen: list[str] = []
    plugin = QueuePlugin(config)

    @asynccontextmanager
    async def database(_: Litestar) -> AsyncGenerator[None, None]:
        seen.append("database opened")
        yield
        with pytest.raises(ConfigurationError):
            repr(plugin.service)
        seen.append("database closed after the queue")

    with TestClient(Litestar([], plugins=[plugin], lifespan=[database])):
        seen.append("running")

    assert seen == ["database opened", "running", "database closed after the queue"]


@pytest.mark.parametrize(
    "error, status, detail",
    [
        (RecordNotFoundError(new_id()), 404, "There is no record"),
        (DuplicateKeyError("welcome:1", new_id()), 409, "'welcome:1' is held by"),
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


async def test_a_task_may_use_the_service_while_the_application_stops(config: QueueConfig) -> None:
    begun, opened = asyncio.Event(), asyncio.Event()
    plugin = QueuePlugin(config)

    @task(name="plugin.follow_up")
    async def follow_up() -> None:
        begun.set()
        await opened.wait()
        await plugin.service.enqueue(double, 4)

    async with application(plugin).lifespan():
        sent = await plugin.service.enqueue(follow_up)
        await begun.wait()
        asyncio.get_running_loop().call_later(0.05, opened.set)  # The application is stopping by then.

    async with QueueService(config) as service:
        assert await service.get(sent.id)
        assert [record.task_name for record in await service.find()] == ["plugin.double", "plugin.follow_up"]


def test_the_environment_configures_a_plugin_without_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LQ_QUEUE_BACKEND", "memory")
    monkeypatch.setenv("LQ_IN_APP_WORKER", "false")
    plugin = QueuePlugin()

    with TestClient(application(plugin)) as client:
        record = client.get(f"/records/{client.post('/double/21').json()}").json()

    assert (plugin.config.queue_backend, plugin.worker, record["status"]) == ("memory", False, "pending")
    assert QueuePlugin(worker=True).worker
