"""
Every measurement of the house in one run, each in a fresh process: ``./dev bench``.

With ``--write`` the table in docs/performance.md is replaced by this one.
"""

import asyncio
import platform
import re
import sqlite3
import sys
from os import cpu_count
from pathlib import Path
from typing import Final

from figures import Figure, missed, table
from msgspec import json
from stage import output

SCRIPTS: Final = ("enqueue", "drain", "pickup", "backlog", "startup", "cloudrun")
PAGE: Final = Path(__file__).parents[2] / "docs" / "performance.md"


async def measure() -> list[Figure]:
    """Run one script after the other, so that none disturbs another."""
    figures: list[Figure] = []
    for script in SCRIPTS:
        print(f"Measuring {script}", file=sys.stderr, flush=True)
        figures += json.decode(await output(script, "--json"), type=list[Figure])
    return figures


def machine() -> str:
    """Say in a sentence what was measured on."""
    return (
        f"Measured with Python {platform.python_version()} and SQLite {sqlite3.sqlite_version} "
        f"on {platform.system()} with {cpu_count()} cores."
    )


def main() -> None:
    """Print the table, and what has missed its goal."""
    figures = asyncio.run(measure())
    report = f"{machine()}\n\n{table(figures)}"
    print(report)
    for what in missed(figures):
        print(f"Missed its goal: {what}")
    if "--write" in sys.argv[1:]:
        marked = re.compile(r"(?<=<!-- figures -->\n).*(?=<!-- end -->)", re.DOTALL)
        PAGE.write_text(marked.sub(lambda _: f"\n{report}\n\n", PAGE.read_text()))


if __name__ == "__main__":
    main()
