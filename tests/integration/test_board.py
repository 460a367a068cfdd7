"""The board for Grafana asks only for what the metrics have: names, labels, and values of labels."""

import re
from collections import defaultdict
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lq_core import NonRetryable, Outcome, QueueConfig, TaskStatus, task
from lq_core.observability.prometheus import PrometheusMetrics
from lq_core.testing import QueueTestbed
from tree import ROOT

BOARD = msgspec.json.decode((ROOT / "docs/grafana.json").read_bytes())
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
OF_PROMETHEUS = {"instance", "job"}
"""The labels that every sample gets at the scrape."""

METRIC = re.compile(r"\b(lq_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)=~?"([^"]*)"')
GROUPED = re.compile(r"\bby \(([^)]*)\)")


@task(name="board.greet")
async def greet() -> None: ...


@task(name="board.break")
async def break_down() -> None:
    raise NonRetryable("no paper")


@pytest.fixture
async def labels() -> dict[str, set[str]]:
    """The labels of every sample of the real metrics, by its name."""
    metrics = PrometheusMetrics()
    async with QueueTestbed(QueueConfig(middleware=(metrics,))) as bed:
        await bed.service.enqueue_many([greet.call(), break_down.call()])
        await bed.drain()
        text = (await metrics.exposition(bed.service)).decode()
    found = defaultdict[str, set[str]](set)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found


def test_the_board_has_queries_and_no_place_is_taken_twice() -> None:
    panels: list[Any] = BOARD["panels"]

    assert len(QUERIES) >= 12
    assert len({(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}) == len(panels)
    assert len({one["id"] for one in panels}) == len(panels)


async def test_every_metric_is_on_the_board(labels: dict[str, set[str]]) -> None:
    asked = {name.removesuffix("_bucket").removesuffix("_count") for name, _ in METRIC.findall(" ".join(QUERIES))}
    given = {re.sub("_(bucket|count|sum|created)$", "", name) for name in labels}

    assert asked == {name for name in given if name.startswith("lq_")}


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
async def test_a_query_asks_for_what_is_there(query: str, labels: dict[str, set[str]]) -> None:
    grouped = {label.strip() for names in GROUPED.findall(query) for label in names.split(",")}

    for name, matchers in METRIC.findall(query):
        assert name in labels
        assert {label for label, _ in MATCHER.findall(matchers)} | grouped <= labels[name] | OF_PROMETHEUS
        for label, values in MATCHER.findall(matchers):
            assert set(values.split("|")) <= {*(Outcome if label == "outcome" else TaskStatus)}
