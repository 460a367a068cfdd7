"""
One measured figure with its goal, and the table of many.

Every script here has ``measure()`` and prints its figures as a table, or as JSON with ``--json``.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct, json

Unit: TypeAlias = Literal["/s", "ms", "MB", "times"]
PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"


class Figure(Struct, frozen=True):
    """One measurement. A rate or a multiple is better if larger; time and memory are better if smaller."""

    what: str
    value: float
    unit: Unit
    goal: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.value / self.goal if self.unit in {"/s", "times"} else self.goal / max(self.value, 0.01)


def show(figures: Sequence[Figure]) -> None:
    """Print the figures of one script, as a table or as JSON."""
    print(json.encode(figures).decode() if "--json" in sys.argv[1:] else table(figures))


def table(figures: Iterable[Figure]) -> str:
    """Write figures as a Markdown table; a ratio above 1 means that the goal is reached."""
    lines = ["| measurement | goal | value | ratio |", "|---|---:|---:|---:|"]
    for figure in figures:
        value = _written(figure.value, figure.unit)
        lines.append(f"| {figure.what} | {_goal(figure)} | {value} | {_ratio(figure)} |")
    return "\n".join(lines)


def report(figures: Sequence[Figure], machine: str, *, place: str, page: Path = PAGE) -> None:
    """Print figures, the machine and missed goals. With ``--write``, also replace the table at *place* in the page."""
    text = f"{machine}\n\n{table(figures)}"
    print(text)
    for what in missed(figures):
        print(f"Missed its goal: {what}")
    if "--write" in sys.argv[1:]:
        write_text(text, place=place, page=page)


def write_text(text: str, *, place: str, page: Path = PAGE) -> None:
    """Replace the text at *place* in a page. Raises LookupError if the page has no such place."""
    marked = re.compile(rf"(?<=<!-- {place} -->\n).*?(?=<!-- end -->)", re.DOTALL)
    if not marked.search(page.read_text()):
        raise LookupError(f"{page.name} has no place for these figures: <!-- {place} -->")
    _ = page.write_text(marked.sub(lambda _: f"\n{text}\n\n", page.read_text()))


def missed(figures: Iterable[Figure]) -> list[str]:
    """Name the measurements whose goals are not reached."""
    return [figure.what for figure in figures if figure.ratio is not None and figure.ratio < 1]


def _goal(figure: Figure) -> str:
    if figure.goal is None:
        return ""
    return f"{'≥' if figure.unit in {'/s', 'times'} else '<'} {_written(figure.goal, figure.unit)}"


def _ratio(figure: Figure) -> str:
    return "" if figure.ratio is None else f"{figure.ratio:.2f}"


def _written(value: float, unit: Unit) -> str:
    match unit:
        case "/s":
            return f"{value:,.0f}/s"
        case "times":
            return f"{value:.{2 if value < 10 else 1}f} times"
        case "ms" | "MB":
            return f"{value:.{2 if value < 10 else 0}f} {unit}"
