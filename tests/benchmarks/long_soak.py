"""
Real workers and producers, killed and stopped at random: ``./dev soak --minutes 10 [--store sqlite|postgres|both]``.

At the end, every record that a producer enqueued must have ended, every effect must be counted, and nothing must be
left behind. Otherwise the exit code is 1.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from servers import PostgresServer
from soak import Soak, SoakPlan, SoakResult

OUT: Final = Console()


class Asked(NamedTuple):
    """The arguments of the command line."""

    minutes: float
    store: str
    workers: int
    producers: int
    seed: int


def asked() -> Asked:
    parser = argparse.ArgumentParser(prog="./dev soak", description=str(__doc__).strip().splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long it takes, on each store (5)")
    parser.add_argument("--store", choices=["sqlite", "postgres", "both"], default="both")
    parser.add_argument("--workers", type=int, default=3, help="how many worker processes (3)")
    parser.add_argument("--producers", type=int, default=2, help="how many producer processes (2)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**9), help="to repeat the same disturbances")
    return Asked(**cast("dict[str, object]", vars(parser.parse_args())))  # pyright: ignore[reportArgumentType] -- argparse has checked them


@contextmanager
def database(store: str, folder: Path) -> Generator[str]:
    """Make an empty database."""
    if store == "sqlite":
        yield str(folder / "lq.db")
        return
    with PostgresServer(durable=True) as server:
        yield server.create_database("soak")


async def soak(store: str, what: Asked) -> bool:
    """Soak one store, and return whether there is no problem."""
    plan = SoakPlan(seconds=60 * what.minutes, workers=what.workers, producers=what.producers)
    with (
        tempfile.TemporaryDirectory(prefix="lq-soak-") as room,
        database(store, Path(room)) as address,
        OUT.status(store) as status,
    ):

        def say(text: str) -> None:
            status.update(f"{store}: {text}")
            if not OUT.is_terminal:
                OUT.print(f"{store}: {text}")

        soak = Soak(address, Path(room), seed=what.seed, plan=plan, say=say)
        result = await soak.run()
    show(store, what, soak, result)
    return not result.problems


def show(store: str, what: Asked, soak: Soak, result: SoakResult) -> None:
    """Print the counts and the problems."""
    table = Table("what", "how often", title=f"{store}, {what.minutes:g} minutes, seed {what.seed}")
    table.columns[1].justify = "right"
    for name, number in sorted(soak.disturbances.items()):
        table.add_row(name, f"{number:,}")
    table.add_section()
    for name, number in result.counts.items():
        table.add_row(name, f"{number:,}")
    OUT.print(table)
    for problem in result.problems:
        OUT.print(f"[red]WRONG[/red] {escape(problem)}")
    OUT.print(
        f"{store}: {'something is wrong' if result.problems else 'everything is there, once, and nothing is left'}"
    )


def main() -> None:
    what = asked()
    stores = ("sqlite", "postgres") if what.store == "both" else (what.store,)
    well = [asyncio.run(soak(store, what)) for store in stores]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
