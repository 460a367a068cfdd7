"""The pages say what is so: their examples print what stands below them, and the diagram shows the lifecycle."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lq_core.lifecycle import MOVES

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "docs/tour.md",
    "docs/lifecycle.md",
    "docs/limits.md",
    "docs/retries.md",
    "docs/unique.md",
    "packages/lq-core/README.md",
    "packages/lq-local/README.md",
]


def blocks(page: str, language: str) -> str:
    """All blocks of a language on a page, in one text."""
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(blocks(page, "python"))

    command = [sys.executable, "-W", "error", example]
    printed = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)

    assert (printed.returncode, printed.stdout) == (0, blocks(page, "text")), printed.stderr


def test_the_diagram_shows_every_step_of_the_lifecycle_and_no_other() -> None:
    drawn = re.findall(r"^ *(\w+) --> (\w+):", blocks("docs/lifecycle.md", "mermaid"), re.MULTILINE)

    assert sorted(drawn) == sorted((before, after) for before, steps in MOVES.items() for after in steps)
