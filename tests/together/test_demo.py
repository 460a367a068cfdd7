"""The demonstration, demo.py with the application of documents.py, in a small form."""

import asyncio
import sys
from pathlib import Path

import pytest

from programs import run

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
