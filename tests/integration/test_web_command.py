"""``lq web``: the dashboard of a queue, for the people of this machine."""

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from programs import run, running, until
from servers.postgres import free_port

LQ = (sys.executable, "-m", "lq_core")
STORES = """
from lq_core import QueueConfig
from lq_core.queue.sqlite import SQLiteConfig

config = QueueConfig(stores={"bulk": SQLiteConfig(path="bulk.db")})
"""


async def test_it_serves_the_dashboard_until_it_is_stopped(tmp_path: Path) -> None:
    made = await run(*LQ, "migrate", folder=tmp_path)
    port = str(free_port())
    async with running(*LQ, "web", "--port", port, folder=tmp_path) as web:
        await web.line_with(f"http://127.0.0.1:{port}/")
        await until(partial(answers, f"http://127.0.0.1:{port}/"), what="the dashboard answers")
        page = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/")
        # A browser keeps its connection open between two looks.
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connected = await reader.readline()
        async with asyncio.timeout(5):
            await web.end(signal.SIGTERM)
        writer.close()

    assert connected.startswith(b"HTTP/1.1 200")
    assert made.code == 0
    assert "All is well" in page


async def test_it_does_not_serve_to_others(tmp_path: Path) -> None:
    await run(*LQ, "migrate", folder=tmp_path)

    answer = await run(*LQ, "web", "--host", "0.0.0.0", folder=tmp_path)

    assert answer.code == 1
    assert "which others can reach" in answer.err


async def test_it_shows_one_store(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(STORES)

    answer = await run(*LQ, "web", "shop:config", folder=tmp_path)

    assert answer.code == 1
    assert "several: main, bulk" in answer.err


async def answers(address: str) -> bool:
    """Whether a server that may still be starting answers."""
    try:
        return bool(await asyncio.to_thread(fetch, address))
    except OSError:
        return False


def fetch(address: str) -> str:
    with urlopen(address) as answer:
        return answer.read().decode()
