"""
All measurements in one run, each in a fresh process: ``./dev bench``.

``--write`` replaces the table in docs/performance.md.
"""

import asyncio
import platform
import sqlite3
import sys
from os import cpu_count
from typing import Final

from figures import Figure, report
from fixture import output
from msgspec import json

SCRIPTS: Final = ("enqueue", "plain_calls", "drain", "pickup", "backlog", "startup", "cloudrun")


async def measure() -> list[Figure]:
    """Run one script after the other, so that they do not disturb each other."""
    figures: list[Figure] = []
    for script in SCRIPTS:
        print(f"Measuring {script}", file=sys.stderr, flush=True)
        figures += json.decode(await output(script, "--json"), type=list[Figure])
    return figures


def machine() -> str:
    """Describe the machine in a sentence."""
    return (
        f"Measured with Python {platform.python_version()} and SQLite {sqlite3.sqlite_version} "
        f"on {platform.system()} with {cpu_count()} cores."
    )


if __name__ == "__main__":
    report(asyncio.run(measure()), machine(), place="figures")
