"""
A small application that accepts Python files over HTTP and analyses each one in a background task.

Start it with ``uvicorn documents:app``. Then ``curl --data-binary @some.py 'localhost:8000/documents?name=some.py'``
answers with the id of a record, and ``curl localhost:8000/documents/ID`` shows the record.
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
    """The analysis of one Python file."""

    lines: int
    functions: int = 0
    classes: int = 0
    imports: tuple[str, ...] = ()
    """The modules that the file imports, sorted."""

    longest: str | None = None
    """The name of the function with the most lines."""

    problem: str | None = None
    """The error, if the file is not valid Python."""


@task(name="documents.analyse", queue="documents", retries=2, timeout=60)
def analyse(source: bytes) -> Analysis:
    """Analyse a Python file. The worker runs a plain function in a thread, so the server still answers requests."""
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
    """Store the call, and answer when it is stored. If a file arrives again while it waits, it is analysed once."""
    sent = await queue_service.enqueue(analyse.using(key=name), body)
    return sent.id


@get("/documents/{record_id:uuid}")
async def show(record_id: FromPath[UUID], queue_service: NamedDependency[QueueService]) -> QueuedTaskRecord:
    """Show the record; it has a result when it has completed."""
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
    max_payload_bytes=4_000_000,  # The largest module of the standard library takes a megabyte in JSON.
    heartbeat_interval=0.5,
    heartbeat_timeout=3.0,  # Short for the demonstration: a killed server is dead after 3 s instead of 30 s.
)
app = Litestar([take, show, count], plugins=[QueuePlugin(config)])
