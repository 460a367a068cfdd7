"""The output of commands: tables for people, aligned columns for pipes, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec.structs import asdict
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lq_core.cli.output import echo
from lq_core.records.record import Progress, QueuedTaskRecord, TaskStatus

Cell = str | int | float | datetime | UUID | Sequence[str] | None

COLOURS: Final[Mapping[str, str]] = {
    TaskStatus.DISPATCHED: "cyan",
    TaskStatus.RUNNING: "cyan",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "yellow",
    TaskStatus.EXPIRED: "yellow",
    "paused": "yellow",
    "retired": "yellow",
    "warning": "red",
    "ok": "green",
}

WHOLE: Final = {"age", "id", "status", "state"}
"""Columns that are never wrapped, except for the id in a narrow terminal."""

NARROW: Final = 80
"""A terminal with fewer columns wraps the id."""

LEAST: Final = 8
"""The least width of a column, in characters."""


def print_table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str) -> None:
    """Print rows under heads, or *empty* on stderr if there are no rows."""
    cells = [[to_text(cell) for cell in row] for row in rows]
    if not cells:
        echo(empty, err=True)
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
        if head == "note":  # It gets the rest of the line, and is cut.
            overflow = "crop" if console.options.ascii_only else "ellipsis"
            table.add_column(head, no_wrap=True, overflow=overflow, width=min(LEAST, longest), ratio=1)
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
    """Print one fact in each line, without empty ones."""
    console = Console(highlight=False, soft_wrap=True)
    width = max(map(len, facts))
    for name, value in facts.items():
        if value not in {None, "", ()}:
            text = to_text(value)
            indented = text.replace("\n", "\n" + " " * (width + 2))
            console.print(Text.assemble((name.ljust(width + 2), "bold"), (indented, COLOURS.get(text, ""))))


def print_json(value: object, *, indent: int = 2) -> None:
    """Print a value as JSON, for programs; in one line if *indent* is negative."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=indent).decode()
    if text != _printable(text):
        text = json.dumps(json.loads(text), indent=indent if indent >= 0 else None)
    echo(text)


def record_to_json(record: QueuedTaskRecord) -> Mapping[str, object]:
    """Prepare a record for JSON, with its arguments and its result as values instead of text."""
    result = None if record.result is None else msgspec.Raw(record.result.encode())
    return {**asdict(record), "arguments": msgspec.Raw(record.arguments.encode()), "result": result}


def progress_to_text(progress: Progress | None) -> str:
    """Format the progress of a task; empty if it has reported none."""
    if progress is None:
        return ""
    far = f"{progress.done:g}" if progress.total is None else f"{progress.done:g} of {progress.total:g}"
    return f"{far} {progress.message or ''}".strip()


def to_text(cell: Cell) -> str:
    """Format a value for a person, with times in UTC to the second."""
    match cell:
        case None:
            return "-"
        case datetime():
            return f"{cell:%Y-%m-%d %H:%M:%S}"
        case str():
            # The output of a task must not control the terminal, so control characters are escaped.
            return "".join(
                one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
                for one in _printable(cell)
            )
        case Sequence():
            return to_text(", ".join(cell))
        case float():
            return f"{cell:g}"
        case _:
            return str(cell)


def to_duration(seconds: float) -> str:
    """Format a duration in the unit that a person would use."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _printable(text: str) -> str:
    """Escape the characters that the encoding of the output lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _print_columns(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[number]) for line in lines) for number in range(len(lines[0]))]
    for line in lines:
        padded = (cell.replace("\n", " ").ljust(width) for cell, width in zip(line, widths, strict=True))
        echo("  ".join(padded).rstrip())
