"""
A small application: it takes Python files over HTTP and analyses each as a background task.

Start it with ``uvicorn documents:app``; then ``curl --data-binary @some.py 'localhost:8000/documents?name=some.py'``
answers with the id of a record, and ``curl localhost:8000/documents/ID`` shows what has become of it.
"""

import ast
from uuid import UUID

from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec import Struct

from lq_core import QueueConfig, QueuedTaskRecord, QueueService, RecordNotFoundError, Statistics, task
from lq_litestar import QueuePlugin


class Analysis(Struct, frozen=True):
    """What there is to know about one Python file."""

    lines: int
    functions: int = 0
    classes: int = 0
    imports: tuple[str, ...] = ()
    """The modules that it imports, sorted."""

    longest: str | None = None
    """The function that takes the most lines."""

    problem: str | None = None
    """Why the file is no Python, if it is not."""


@task(name="documents.analyse", queue="documents", retries=2, timeout=60)
def analyse(source: bytes) -> Analysis:
    """Read a Python file. A plain function: the worker runs it in a thread, and the server goes on answering."""
    lines = source.count(b"\n") + 1
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return Analysis(lines=lines, problem=type(error).__name__)
    functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
    imports: set[str] = set()
    classes = 0
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                functions.append(node)
            case ast.ClassDef():
                classes += 1
            case ast.Import(names=names):
                imports.update(alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                imports.add(module)
            case _:
                pass
    longest = max(functions, key=lambda function: (function.end_lineno or 0) - function.lineno, default=None)
    return Analysis(
        lines=lines,
        functions=len(functions),
        classes=classes,
        imports=tuple(sorted(imports)),
        longest=None if longest is None else longest.name,
    )


@post("/documents")
async def take(name: FromQuery[str], body: bytes, queue_service: NamedDependency[QueueService]) -> UUID:
    """Store the call, and answer when it is safe. A file that is sent twice while it waits is analysed once."""
    sent = await queue_service.enqueue(analyse.using(key=name), body)
    return sent.id


@get("/documents/{record_id:uuid}")
async def show(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> QueuedTaskRecord:
    """Show the record; its result is there when it has completed."""
    record = await queue_service.get(record_id)
    if record is None:
        raise RecordNotFoundError(record_id)
    return record


@get("/queue")
async def count(queue_service: NamedDependency[QueueService]) -> Statistics:
    """Count the records."""
    return await queue_service.statistics()


config = QueueConfig(
    concurrency=4,
    max_payload_bytes=4_000_000,  # The largest module of the standard library is a megabyte in JSON.
    heartbeat_interval=0.5,
    heartbeat_timeout=3.0,  # Short, so that a demonstration need not wait: a killed server is missed after 3 s, not 30.
)
app = Litestar([take, show, count], plugins=[QueuePlugin(config)])
