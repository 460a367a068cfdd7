"""The demonstration, demo.py with the application of documents.py, in a small form; look_around.py ends it."""

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from programs import run, running, until

DEMO = Path(__file__).parents[2] / "docs/examples/demo.py"
SECONDS = 150.0
"""How long it may take on a busy machine; alone it takes five."""


@pytest.mark.timeout(SECONDS + 10)
def test_nothing_is_lost_when_the_server_is_killed_half_way(tmp_path: Path) -> None:
    demo = run(sys.executable, DEMO, "--limit", "60", folder=tmp_path, within=SECONDS, TMPDIR=str(tmp_path))
    answer = asyncio.run(demo)

    assert (answer.code, answer.err) == (0, ""), answer.out + answer.err
    assert "SIGKILL after" in answer.out
    assert "Nothing was lost, and every result is right." in answer.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", ["0", "-5"])
async def test_a_limit_that_leaves_no_file_is_refused(tmp_path: Path, limit: str) -> None:
    answer = await run(sys.executable, DEMO, "--limit", limit, folder=tmp_path)

    assert (answer.code, f"--limit is {limit}; it must be at least 1" in answer.err) == (2, True)


@pytest.mark.timeout(SECONDS + 10)
async def test_it_shows_its_records_in_the_dashboard(tmp_path: Path) -> None:
    async with running(
        sys.executable, DEMO, "--limit", "5", "--look", folder=tmp_path, TMPDIR=str(tmp_path), COLUMNS="200"
    ) as demo:
        for step in ("SIGKILL after", "Comparing", "Nothing was lost"):
            await demo.line_with(step)
        said = await demo.line_with("The dashboard is at ")
        address = said.split()[4]
        await until(partial(answers, address), what="the dashboard answers")
        page = await asyncio.to_thread(lambda: urlopen(f"{address}records").read().decode())
        await demo.end(signal.SIGINT)

    assert page.count("analyse") >= 5
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def answers(address: str) -> bool:
    """Whether a server that may still be starting answers."""
    try:
        with await asyncio.to_thread(urlopen, address):
            return True
    except OSError:
        return False
