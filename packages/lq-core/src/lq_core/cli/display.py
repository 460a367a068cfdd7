"""What commands print: tables for people, aligned columns for pipes, JSON for programs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import click
import msgspec
from msgspec.structs import asdict
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lq_core.record import QueuedTaskRecord, TaskStatus

Cell = str | int | float | datetime | UUID | Sequence[str] | None

COLOURS: Mapping[str, str] = {
    TaskStatus.DISPATCHED: "cyan",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "yellow",
    TaskStatus.EXPIRED: "yellow",
    "paused": "yellow",
    "retired": "yellow",
    "hurts": "red",
    "well": "green",
}

WHOLE = {"age", "id", "status", "state"}
"""The columns that are copied or read at a glance, and never broken into two lines; the id is, in a narrow terminal."""

NARROW: Final = 80
"""A terminal with fewer columns has no room for an id beside the rest."""

LEAST: Final = 8
"""How many characters of a column are kept in one line, however narrow the terminal is."""


def print_table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Print rows under heads, or *empty* on stderr when there are none."""
    cells = [[to_text(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    console = Console()
    if not console.is_terminal:
        _print_columns([list(heads), *cells])
        return
    table = Table(box=SIMPLE_HEAD, header_style="bold", show_edge=False, padding=0, expand="note" in heads)
    for number, head in enumerate(heads):
        column = [row[number] for row in cells]
        longest = max(map(len, (head, *column)))
        is_whole = head in WHOLE and (head != "id" or console.width >= NARROW)
        if head == "note":  # It has what the others leave of the line, and is cut.
            table.add_column(head, no_wrap=True, overflow="ellipsis", width=min(LEAST, longest), ratio=1)
            continue
        table.add_column(
            head,
            justify="right" if all(map(str.isdecimal, column)) else "left",
            no_wrap=is_whole,
            min_width=longest if is_whole else min(LEAST, longest),
            overflow="fold",
        )
    for row in cells:
        table.add_row(*(Text(cell, COLOURS.get(cell, "")) for cell in row))
    console.print(table)


def print_facts(facts: Mapping[str, Cell]) -> None:
    """Print one thing, a line a fact; what is absent is left out."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in {None, "", ()}:
            text = to_text(value)
            indented = text.replace("\n", "\n" + " " * (width + 2))
            console.print(Text.assemble((name.ljust(width + 2), "bold"), (indented, COLOURS.get(text, ""))))


def print_json(value: object) -> None:
    """Print a value as JSON, for programs."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def record_to_json(record: QueuedTaskRecord) -> Mapping[str, object]:
    """Make of a record what is printed as JSON; its arguments and result are values there, not texts."""
    result = None if record.result is None else msgspec.Raw(record.result.encode())
    return {**asdict(record), "arguments": msgspec.Raw(record.arguments.encode()), "result": result}


def to_text(cell: Cell) -> str:
    """Write a value for a person; moments in UTC, to the second."""
    match cell:
        case None:
            return "-"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%S}"
        case str():
            # What a task wrote must not steer the terminal.
            return "".join(one if one.isprintable() or one == "\n" else _escaped(one) for one in cell)
        case Sequence():
            return to_text(", ".join(cell))
        case float():
            return f"{cell:g}"
        case _:
            return str(cell)


def to_duration(seconds: float) -> str:
    """Write how long something has taken, in the unit that a person would use."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _print_columns(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[number]) for line in lines) for number in range(len(lines[0]))]
    for line in lines:
        padded = (cell.replace("\n", " ").ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())
