"""Tasks of an in-app worker use the dependencies of the application."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, NewType

from litestar import Litestar, Request, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from litestar.testing import TestClient

from lq_core import INJECTED, QueueConfig, QueueService, task
from lq_litestar import QueuePlugin

MEMORY = QueueConfig(queue_backend="memory")
Visitor = NewType("Visitor", str)


class Session:
    """A database session that tells what happened to it."""

    def __init__(self, log: list[str]) -> None:
        self.log = log


class Mailer:
    """Something that needs a session."""

    def __init__(self, session: Session) -> None:
        self.session = session


async def session(state: State) -> AsyncGenerator[Session]:
    log: list[str] = state["log"]
    try:
        yield Session(log)
    except Exception as error:
        log.append(f"rolled back for {error}")
        raise
    else:
        log.append("committed")


def mailer(db: NamedDependency[Session]) -> Mailer:
    return Mailer(db)


async def visitor(request: Request[Any, Any, Any]) -> Visitor:
    return Visitor(request.client.host if request.client else "")


@task(name="app.send")
async def send(to: str, *, mail: Mailer = INJECTED, db: Session = INJECTED, app: Litestar = INJECTED) -> str:
    if to == "nobody":
        raise ValueError("no such address")
    return (
        f"sent to {to} by {type(mail).__name__} in {'one' if mail.session is db else 'another'} session of {app.debug}"
    )


@task(name="app.greet_visitor")
async def greet_visitor(*, who: Visitor = INJECTED) -> str:
    return f"Hello, {who}."


@post("/send/{to:str}")
async def enqueue(to: FromPath[str], queue_service: NamedDependency[QueueService]) -> str:
    return await (await queue_service.enqueue(send, to)).wait(timeout=10)


@post("/visit")
async def visit(queue_service: NamedDependency[QueueService]) -> str:
    return await (await queue_service.enqueue(greet_visitor)).wait(timeout=10)


def app() -> Litestar:
    return Litestar(
        [enqueue, visit],
        plugins=[QueuePlugin(MEMORY)],
        state=State({"log": []}),
        debug=True,
        dependencies={
            "db": Provide(session),
            "mail": Provide(mailer, sync_to_thread=False),
            "visitor": Provide(visitor),
        },
    )


def test_an_attempt_has_its_own_values_and_closes_them() -> None:
    office = app()
    with TestClient(office) as client:
        assert client.post("/send/Ada").text == "sent to Ada by Mailer in one session of True"
        assert client.post("/send/nobody").status_code == 500

    assert office.state["log"] == ["committed", "rolled back for no such address"]


def test_a_value_of_a_request_is_not_there_and_the_error_says_so() -> None:
    with TestClient(app()) as client:
        answer = client.post("/visit")

    assert answer.status_code == 500
    assert "app.greet_visitor" in answer.text
    assert "Visitor" in answer.text


class Clock:
    """A dependency that is its own function."""


def ticks() -> Generator[int]:
    yield 7


@task(name="app.read_clock")
async def read_clock(*, clock: Clock = INJECTED, number: int = INJECTED) -> str:
    return f"{type(clock).__name__} {number}"


@post("/clock")
async def look_at_clock(queue_service: NamedDependency[QueueService]) -> str:
    return await (await queue_service.enqueue(read_clock)).wait(timeout=10)


def test_a_class_and_a_generator_are_dependencies_of_tasks() -> None:
    dependencies = {"clock": Provide(Clock, sync_to_thread=False), "ticks": Provide(ticks)}
    office = Litestar([look_at_clock], plugins=[QueuePlugin(MEMORY)], dependencies=dependencies)
    with TestClient(office) as client:
        assert client.post("/clock").text == "Clock 7"
