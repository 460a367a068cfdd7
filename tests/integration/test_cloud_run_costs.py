"""The costs in the documentation come from the price file, and the Dockerfile builds what the clone holds."""

import json
import re
import runpy
import shlex
import subprocess
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "docs/examples/cloudrun"


@pytest.fixture(scope="module")
def costs() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE / "costs.py"))


def test_the_table_of_the_documentation_is_computed(costs: dict[str, Any]) -> None:
    assert costs["table"]() in (ROOT / "docs/cloud-run.md").read_text()


def test_prices_have_a_date_and_sources() -> None:
    prices = json.loads((EXAMPLE / "prices.json").read_text())

    assert date.fromisoformat(prices["read"]).year >= 2026
    assert all(prices[kind]["source"] for kind in ("job", "worker_pool"))


def test_one_long_record_costs_its_time(costs: dict[str, Any]) -> None:
    price = costs["Price"](second=0.01, shortest=60)
    found = costs["costs"](1, 3595, job=price, pool=price)

    assert found["one job each"] == pytest.approx(36.0)
    assert found["worker pool"] == pytest.approx(42.0)


def test_short_executions_are_billed_for_the_shortest_time(costs: dict[str, Any]) -> None:
    price = costs["Price"](second=0.01, shortest=60)

    assert costs["costs"](10, 1, job=price, pool=price)["one job each"] == pytest.approx(6.0)


def instructions() -> list[list[str]]:
    """Return the instructions of the Dockerfile, as words."""
    text = (EXAMPLE / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_dockerfile_copies_what_the_clone_holds() -> None:
    stages = {words[3] for words in instructions() if words[0] == "FROM"}
    copies = [words[1:] for words in instructions() if words[0] == "COPY"]
    others = [words for words in copies if words[0].startswith("--from=")]

    assert stages == {"wheels", "office", "worker", "tasks"}
    assert {words[0].removeprefix("--from=") for words in others} <= stages
    assert [path for words in copies if words not in others for path in words[:-1] if not (ROOT / path).exists()] == []


def test_the_dockerfile_builds_its_wheels_from_the_clone(tmp_path: Path) -> None:
    [build] = [
        " ".join(words[1:]) for words in instructions() if words[:1] == ["RUN"] and "uv" in words and "build" in words
    ]
    told = subprocess.run(
        ["sh", "-ec", build.replace("/dist", str(tmp_path))], cwd=ROOT, capture_output=True, text=True, check=False
    )
    built = {re.split(r"-\d", path.name)[0].replace("_", "-") for path in tmp_path.glob("*.whl")}

    assert told.returncode == 0, told.stderr
    installed = {
        re.split(r"[\[>=]", word)[0]
        for words in instructions()
        if words[:2] == ["RUN", "pip"]
        for word in shlex.split(" ".join(words))
        if word.startswith("lq-")
    }
    assert installed <= built
