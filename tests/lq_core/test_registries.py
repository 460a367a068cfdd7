"""How backends are found, and what is said when they are not."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import pytest

from lq_core import (
    ConfigurationError,
    InProcessExecutionBackend,
    Limits,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    UnknownBackendError,
    execution_backend,
    get_execution_backend,
    get_execution_backend_class,
    get_queue_backend,
    get_queue_backend_class,
    queue_backend,
)
from lq_core.execution import ExecutionService
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend


@execution_backend("tests-here")
class Here(InProcessExecutionBackend):
    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        return await service.execute_record(record, worker_id=worker_id)


@execution_backend("tests-shut")
class Shut(Here):
    async def open(self, service: ExecutionService) -> None:
        raise ConfigurationError("It is shut.")


opened: list[str] = []


@execution_backend("tests-slow-to-open")
class SlowToOpen(Here):
    async def open(self, service: ExecutionService) -> None:
        await asyncio.sleep(0)
        opened.append("tests-slow-to-open")


@dataclass(frozen=True)
class HereSettings:
    execution_backend: str = "tests-here"
    size: int = 1


@execution_backend("tests-lenient")
class Lenient(Here):
    def __init__(self, config: QueueConfig | None = None, **given: object) -> None:
        super().__init__(config)
        self.given = given


@dataclass(frozen=True)
class LenientSettings:
    execution_backend: str = "tests-lenient"


def test_a_backend_is_found_by_the_name_of_its_decorator() -> None:
    assert get_execution_backend_class("tests-here") is Here


async def test_an_installed_backend_that_cannot_be_opened_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async with QueueService(QueueConfig(queue_backend="memory", execution_backend="tests-here")) as service:
        await service.execution_backends()
        await service.execution_backends()

    assert [message for message in caplog.messages if "tests-shut" in message] == [
        "execution_backend.left_out backend=tests-shut error='It is shut.'"
    ]


async def test_a_backend_that_several_ask_for_at_once_is_opened_once() -> None:
    opened.clear()  # The workers of other tests open what is registered here as well.

    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        first, second = await asyncio.gather(*[service.execution_backend("tests-slow-to-open") for _ in range(2)])

    assert first is second
    assert opened == ["tests-slow-to-open"]


def test_an_installed_backend_is_found_by_its_short_name() -> None:
    assert isinstance(get_queue_backend("memory"), InMemoryQueueBackend)


@pytest.mark.parametrize(
    "path", ["lq_core.queue.memory.InMemoryQueueBackend", "lq_core.queue.memory:InMemoryQueueBackend"]
)
def test_a_backend_is_found_by_its_import_path(path: str) -> None:
    assert get_queue_backend_class(path) is InMemoryQueueBackend


def test_a_typed_configuration_selects_and_configures_its_backend(tmp_path: object) -> None:
    made = get_queue_backend(SQLiteConfig(path=f"{tmp_path}/x.db"))

    assert isinstance(made, SQLiteQueueBackend)
    assert made.address == f"sqlite:{tmp_path}/x.db"


def test_a_class_that_takes_any_keyword_gets_its_typed_configuration() -> None:
    settings = LenientSettings()
    made = get_execution_backend(settings)

    assert isinstance(made, Lenient)
    assert made.given == {"execution_config": settings}


def test_a_typed_configuration_for_a_class_that_takes_none_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="HereSettings selects Here, which does not accept execution_config"):
        get_execution_backend(HereSettings())


@pytest.mark.parametrize(
    "name, advice",
    [("cloudrun", "pip install lq-cloudrun"), ("tests-her", "Did you mean 'tests-here'"), ("xyzzy", "import path")],
)
def test_an_unknown_execution_backend_says_what_is_there_and_what_to_do(name: str, advice: str) -> None:
    refused = UnknownBackendError("execution", name, ["tests-here"])

    assert str(refused).startswith(f"There is no execution backend {name!r} (here: tests-here).")
    assert advice in str(refused)


def test_an_unknown_queue_backend_names_the_package() -> None:
    with pytest.raises(
        ValueError, match=r"no queue backend 'sqllite' \(here: .*memory.*sqlite.*\). Did you mean 'sqlite'"
    ):
        get_queue_backend("sqllite")


@pytest.mark.parametrize(
    "path", ["nowhere.Backend", "lq_core.queue.memory:Nothing", "lq_core.queue.memory:Partitions", "lq_core:"]
)
def test_a_path_that_leads_nowhere_is_refused_with_the_path(path: str) -> None:
    with pytest.raises(ConfigurationError, match=path):
        get_queue_backend_class(path)


def test_only_a_backend_class_can_be_registered() -> None:
    with pytest.raises(ConfigurationError, match="BaseQueueBackend"):
        queue_backend("tests-nonsense")(dict)  # pyright: ignore[reportArgumentType] -- the mistake is the example


def test_an_incomplete_backend_cannot_be_made() -> None:
    class Half(InProcessExecutionBackend):
        pass

    with pytest.raises(TypeError, match="execute"):
        Half()  # pyright: ignore[reportAbstractUsage] -- the mistake is the example


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"poll_interval": -1}, "poll_interval is -1"),
        ({"heartbeat_interval": 20}, "at least twice"),
        ({"shutdown_grace": -1}, "shutdown_grace is -1"),
        ({"task_modules": "shop.tasks"}, r"\('shop\.tasks',\)"),
        ({"queues": "mail"}, r"\('mail',\)"),
        ({"queues": ()}, r"queues is \(\); it must be a tuple of the names of queues, such as \('mail',\), or None"),
        ({"retention": 5}, r"retention is 5; it must be a dict such as \{TaskStatus\.FAILED"),
        ({"retention": {"failed": "1d"}}, "'1d'"),
        ({"queue_limits": 5}, r"queue_limits is 5; it must be a dict from .* such as \{\"mail\": Limits"),
        ({"retention": {"running": 5}}, "'running'"),
        ({"retention": {"failed": -5}}, "-5"),
        ({"retention_count": {"pending": 5}}, "'pending'"),
        ({"retention_count": {"failed": -1}}, "with counts, not negative, for: cancelled, completed"),
        ({"max_payload_bytes": 0}, "max_payload_bytes is 0"),
        ({"concurrency": "5"}, "concurrency is '5'; it must be a whole number"),
        ({"concurrency": 2.5}, "concurrency is 2.5; it must be a whole number"),
        ({"poll_interval": None}, "poll_interval is None; it must be a number"),
        ({"queue_backend": None}, "queue_backend is None; it must be a name"),
        ({"execution_backend": 5}, "execution_backend is 5; it must be a name"),
        ({"concurrency": 10**30}, r"concurrency is 10+; it must be a whole number from 1 to 2147483647"),
        (
            {"poll_interval": float("nan")},
            "poll_interval is nan; it must be a number of seconds greater than 0, at most 3,153,600,000",
        ),
        ({"poll_interval": float("inf")}, "poll_interval is inf; it must be"),
        ({"heartbeat_interval": float("nan")}, "heartbeat_interval is nan; it must be"),
        ({"heartbeat_timeout": float("nan")}, "heartbeat_timeout is nan; it must be"),
        ({"heartbeat_timeout": 10**400}, "heartbeat_timeout is 10+…; it must be"),
        ({"shutdown_grace": float("nan")}, "shutdown_grace is nan; it must be"),
        ({"retention": {"failed": float("nan")}}, "'failed': nan}; it must be .* with seconds, not negative"),
        ({"queues": (1,)}, r"queues is \(1,\); it must be a tuple of the names of queues, such as \('mail',\)"),
        ({"queues": 5}, "queues is 5; it must be a tuple"),
        ({"queues": ("",)}, r"queues is \('',\); it must be a tuple"),
        ({"queue_limits": {1: Limits(concurrency=5)}}, "queue_limits is {1: Limits"),
        (
            {"task_modules": (5,)},
            r"task_modules is \(5,\); it must be a tuple of the names of modules, such as \('shop\.tasks',\)",
        ),
        ({"execution_backends": (HereSettings(), HereSettings(size=2))}, "two configurations of 'tests-here'"),
        ({"middleware": print}, "middleware is <built-in function print>; it must be a tuple of objects"),
        ({"execution_backends": (5,)}, r"execution_backends is \(5,\); it must be a tuple of names or typed"),
        ({"execution_backends": "cloudrun"}, r"typed configurations, such as \('cloudrun',\)"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_with_its_value(options: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        QueueConfig(**options)  # pyright: ignore[reportArgumentType] -- the mistakes are the example


def test_a_misspelt_setting_is_refused_with_the_closest_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no field of QueueConfig 'quues'\. Did you mean 'queues'"):
        QueueConfig(quues=("mail",))  # pyright: ignore[reportCallIssue] -- the mistake is the example


@pytest.mark.parametrize("path", [None, 5, "", ":memory:"])
def test_a_sqlite_path_that_is_not_a_file_is_refused_with_its_value(path: object) -> None:
    with pytest.raises(ConfigurationError, match=f"path is {path!r}; it must be a file"):
        SQLiteConfig(path=path)  # pyright: ignore[reportArgumentType] -- the mistakes are the example


async def test_a_service_refuses_an_unknown_execution_backend() -> None:
    with pytest.raises(UnknownBackendError, match="tests-hre"):
        await QueueService(QueueConfig(queue_backend="memory", execution_backend="tests-hre")).open()


async def test_a_service_refuses_a_task_module_that_is_not_there() -> None:
    with pytest.raises(
        ConfigurationError, match=r"task_modules=\.\.\.\) names 'shop\.taks', but there is no module 'shop"
    ):
        await QueueService(QueueConfig(queue_backend="memory", task_modules=("shop.taks",))).open()


@pytest.mark.parametrize("verb", ["wait", "get", "cancel", "retry", "find", "count", "statistics", "workers", "queues"])
@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_a_closed_service_says_how_to_open_it(backend: str, verb: str) -> None:
    service = QueueService(QueueConfig(queue_backend=backend))

    with pytest.raises(ConfigurationError, match="async with QueueService"):
        await getattr(service, verb)(*[UUID(int=1)] * (verb in {"wait", "get", "cancel", "retry"}))
