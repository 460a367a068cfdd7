"""
Every measurement of the house in one run, each in a fresh process: ``./dev bench``.

With ``--write`` the table in docs/performance.md is replaced by this one.
"""

import asyncio
import platform
import sqlite3
import sys
from os import cpu_count
from typing import Final

from figures import Figure, report
from msgspec import json
from stage import output

SCRIPTS: Final = ("enqueue", "drain", "pickup", "backlog", "startup", "cloudrun")


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


if __name__ == "__main__":
    report(asyncio.run(measure()), machine(), place="figures")
