"""What the comparison of queues has found, as a file, and as the tables of docs/performance.md."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

from figures import write_text
from msgspec import Struct, json

OURS: Final = "lq"
FILE: Final = Path(__file__).parent / "results.json"

WAIT: Final = "pick-up"
"""Measures whose names begin like this are waits in seconds, and better if smaller."""

Found: TypeAlias = dict[str, list[float | None]]
"""The figures of one queue, by measure, with a value for each turn; None if the queue has no such feature."""


class Results(Struct, kw_only=True):
    """The figures of all queues, by their names; lq is the first."""

    measured: date
    machine: str
    rounds: int
    versions: dict[str, str]
    """What was installed for each peer, such as ``"saq[postgres]==0.26.4"``."""

    stores: dict[str, str]
    found: dict[str, Found]

    def figure(self, queue: str, measure: str) -> float | None:
        """Return the median of the turns, or None without any."""
        values = [value for value in self.found[queue].get(measure, ()) if value is not None]
        return median(values) if values else None

    def ratio(self, queue: str, measure: str) -> float | None:
        """Return how many times better lq is: the median over the turns, where neighbours are compared."""
        pairs = zip(self.found[OURS][measure], self.found[queue].get(measure, ()), strict=True)
        ratios = [mine / theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        if not ratios:
            return None
        return 1 / median(ratios) if measure.startswith(WAIT) else median(ratios)


def read() -> Results:
    """Read the results of the last measurement that was written."""
    return json.decode(FILE.read_bytes(), type=Results)


def write(results: Results) -> None:
    """Write the file, and replace the tables in the page."""
    _ = FILE.write_bytes(json.format(json.encode(results), indent=1) + b"\n")
    write_text(tables(results), place="peers")


def tables(results: Results) -> str:
    """Write the figures of each queue, and how many times better lq is, as Markdown."""
    measures = list(results.found[OURS])
    peers = [queue for queue in results.found if queue != OURS]
    versions = ", ".join(requirement.replace("==", " ") for requirement in results.versions.values())
    rounds = "one round" if results.rounds == 1 else f"medians of {results.rounds} rounds"
    machine = f"Measured on {results.measured} with {results.machine}: {rounds}."
    return "\n\n".join(
        [
            f"{machine} The versions are {versions}.",
            _table(
                results.found, measures, lambda queue, row: written(row, results.figure(queue, row)), results.stores
            ),
            "How many times better lq is, where each turn is compared with the neighbouring turn of the other queue:",
            _table(peers, measures, lambda queue, row: _times(results.ratio(queue, row)), results.stores),
        ]
    )


def written(measure: str, value: float | None) -> str:
    """Write a figure with its unit."""
    if value is None:
        return "none"
    return f"{value * 1000:.1f} ms" if measure.startswith(WAIT) else f"{value:,.0f}/s"


def _times(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _table(
    queues: Sequence[str] | Mapping[str, Found],
    measures: Sequence[str],
    cell: Callable[[str, str], str],
    stores: Mapping[str, str],
) -> str:
    lines = [["queue", "store", *measures], ["---", "---", *["---:"] * len(measures)]]
    lines += [[queue, stores[queue], *(cell(queue, row) for row in measures)] for queue in queues]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
