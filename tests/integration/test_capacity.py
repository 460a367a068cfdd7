"""The capacity model of the documentation comes from measurements, and does what it says."""

import runpy
import sys
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "docs/examples/capacity.py"


@pytest.fixture(scope="module")
def capacity() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE))


def test_the_table_of_the_documentation_is_computed(capacity: dict[str, Any]) -> None:
    assert capacity["table"]() in (ROOT / "docs/scaling.md").read_text()


def test_costs_between_two_payloads_lie_on_a_line(capacity: dict[str, Any]) -> None:
    costs = [{"payload": 100, "run": {"wal": 10.0}}, {"payload": 300, "run": {"wal": 30.0}}]

    assert [capacity["line"](costs, size, "run", "wal") for size in (0, 100, 200, 500)] == [0, 10, 20, 50]


@pytest.mark.parametrize(
    "load, databases, limit",
    [
        ({"rate": 1, "size": 100}, 1, None),
        ({"rate": 1_000, "size": 100, "days": 365, "kept": 1e12}, None, "disk"),
        ({"rate": 20_000, "size": 100_000, "kept": 1}, None, "log"),
        ({"rate": 20_000, "size": 100, "kept": 1, "alone": 1}, None, "cores"),
    ],
)
def test_what_is_short_decides_the_number_of_databases(
    capacity: dict[str, Any], load: dict[str, float], databases: int | None, limit: str | None
) -> None:
    found = capacity["needs"](capacity["measured"](), **load)

    assert found.databases >= 1
    assert databases in {None, found.databases}
    assert limit in {None, found.limit}


def test_one_load_is_printed(
    capacity: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "capacity.py --rate 1000 --size 100 --seconds 2 --concurrency 100 --server-cores 2"
    monkeypatch.setattr(sys, "argv", words.split())

    capacity["main"]()

    assert "| 1,000/s | 100 B |" in capsys.readouterr().out
    assert capacity["needs"](capacity["measured"](), rate=1000, size=100, seconds=2, concurrency=100).workers == 20
