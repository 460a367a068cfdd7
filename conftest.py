"""Runs every Python example that stands in a page or a README, each page in a folder of its own."""

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser

from lq_core.schedules.schedule import SCHEDULES

# Here because tests/integration imports it before the packages' own conftest.py files are read.
pytest.register_assert_rewrite("lq_core.contracts")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An example may write files: it does so in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def as_a_program(namespace: dict[str, object]) -> None:
    """An example is a module to who reads its annotations, such as Litestar."""
    namespace["__name__"] = "__main__"


def without_its_schedules(_: dict[str, object]) -> None:
    """The workers of the next page do not fire what this page has declared."""
    SCHEDULES.clear()


pytest_collect_file = Sybil(
    setup=as_a_program,
    teardown=without_its_schedules,
    parsers=[PythonCodeBlockParser()],
    patterns=["*.md"],
    # tests/integration/test_frameworks.py runs the files of that page.
    excludes=["docs/frameworks.md", "CHANGELOG.md", "CONTRIBUTING.md", "**/changes/*.md"],
    fixtures=["elsewhere"],
).pytest()
