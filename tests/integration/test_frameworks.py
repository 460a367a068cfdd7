"""The recipes for other frameworks run as they stand on their page: a real server enqueues, and a worker runs."""

import asyncio
import re
import signal
import sys
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import UUID

import msgspec
import pytest

from programs import run, running, until
from servers.postgres import free_port
from sqlite_file import SQLiteFile

PAGE = Path(__file__).parents[2] / "docs/frameworks.md"
LQ = (sys.executable, "-m", "lq_core")
SETTINGS = "SECRET_KEY = 'not secret'\nDEBUG = True\nALLOWED_HOSTS = ['127.0.0.1']\nROOT_URLCONF = 'with_django'\n"
SERVERS = {
    "fastapi": ("uvicorn", "with_fastapi:app", "--port", "{port}"),
    "flask": ("flask", "--app", "with_flask", "run", "--port", "{port}"),
    "django": ("django", "runserver", "--noreload", "{port}", "--settings", "settings"),
}


class Added(msgspec.Struct):
    """What the recipes answer."""

    record: UUID


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files of the page."""
    files = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for name, text in files:
        (tmp_path / name).write_text(text)
    (tmp_path / "settings.py").write_text(SETTINGS)
    assert len(files) == len(re.findall("^```python$", PAGE.read_text(), re.MULTILINE))
    return tmp_path


async def result_of(record_id: UUID, folder: Path) -> str | None:
    """Run what waits, and return the result of a record."""
    file = SQLiteFile(folder / "shop.db")
    async with running(*LQ, "worker", "shop_queue:config", "-m", "shop_tasks", folder=folder) as worker:

        async def has_ended() -> bool:
            return (await file.read(record_id)).has_ended

        await until(has_ended, what="the record has ended")
        await worker.end(signal.SIGTERM)
    return (await file.read(record_id)).result


def post(address: str) -> Added:
    with urlopen(Request(address, method="POST")) as answer:
        return msgspec.json.decode(answer.read(), type=Added)


async def answers(address: str) -> bool:
    """Whether a server that may still be starting answers, even if there is nothing at the address."""
    try:
        with await asyncio.to_thread(urlopen, address):
            return True
    except HTTPError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("framework", SERVERS)
async def test_a_view_enqueues_and_a_worker_runs(framework: str, folder: Path) -> None:
    port = str(free_port())
    address = f"http://127.0.0.1:{port}"
    words = [word.format(port=port) for word in SERVERS[framework]]
    async with running(sys.executable, "-m", *words, folder=folder) as server:
        await until(partial(answers, address), what=f"{framework} answers")
        added = await asyncio.to_thread(post, f"{address}/customers/Ada")
        if framework == "fastapi":
            with await asyncio.to_thread(urlopen, f"{address}/admin/queues/") as page:
                assert b"<h1>" in page.read()
        await server.end(signal.SIGTERM)

    assert await result_of(added.record, folder) == '"Welcome, Ada!"'


async def test_a_script_enqueues_and_a_worker_runs(folder: Path) -> None:
    first = await run(sys.executable, "nightly.py", folder=folder)
    again = await run(sys.executable, "nightly.py", folder=folder)
    by_hand = await run(*LQ, "enqueue", "shop_queue:config", "shop.welcome", "Ada", "-m", "shop_tasks", folder=folder)

    assert (first.out, first.err) == ("pending\n", "")
    assert (again.out, by_hand.code) == ("pending\n", 0)
    listed = await run(*LQ, "records", "list", "shop_queue:config", "--json", folder=folder)
    assert listed.out.count('"task_name"') == 2


async def test_a_cell_of_a_notebook_enqueues(folder: Path) -> None:
    """A notebook runs each cell in an event loop that is already running."""
    cell = "import asyncio\nasync def cell():\n    import nightly\n    print(nightly.sent.id)\nasyncio.run(cell())\n"

    answer = await run(sys.executable, "-c", cell, folder=folder)

    record_id = UUID(answer.out.split()[-1])
    assert await result_of(record_id, folder) == '"Welcome, everyone!"'
