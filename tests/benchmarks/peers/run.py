"""
lq and other queues on one durable PostgreSQL: a table of figures, and a table of ratios to the first column.

``./dev bench peers/run [NAME …]``. Each peer is installed, at the version written here, into an
temporary environment. In every round, the peers take turns for every measure, each in its own process and its own
database. The tables show the medians of the rounds and of their ratios, so that a slow phase of the machine affects
all peers alike.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, TypeAlias

from measures import MEASURES, Figures

from servers import PostgresServer

HERE: Final = Path(__file__).parent
OURS: Final = "lq"
ROUNDS: Final = 5
TURNS: Final[Mapping[str, int]] = {"one_by_one": 5}
"""How often a short measure is repeated in each round, because its figures vary most."""

SECONDS_FOR_ONE: Final = 300
SECONDS_OF_WAIT: Final = "pick-up"
"""Measures whose names begin like this are waits in seconds, and better if smaller."""

Found: TypeAlias = dict[str, list[float | None]]
"""The figures of one queue, by measure, with a value for each turn."""

Cell: TypeAlias = Callable[[str, Found, Found], str]


class Peer(NamedTuple):
    """A queue to measure: the module that drives it, and what to install for it."""

    module: str
    requirements: tuple[str, ...]
    python: str = sys.executable
    """The interpreter; for a peer that needs another one than this, such as ``>=3.12``, it must be installed here."""


PEERS: Final[Mapping[str, Peer]] = {
    "Chancy": Peer("with_chancy", ("chancy==0.26.0", "psycopg[binary,pool]==3.3.9")),
    "Huey": Peer("with_huey", ("huey==3.5.4", "peewee==4.5.3", "psycopg2-binary==2.9.13")),
    "litestar-queues": Peer("with_litestar_queues", ("litestar-queues==0.12.0", "sqlspec[asyncpg]==0.69.0")),
    "Oban": Peer("with_oban", ("oban==0.7.0", "psycopg[binary,pool]==3.3.9"), python=">=3.12"),
    "PgQueuer": Peer("with_pgqueuer", ("pgqueuer==1.6.0", "asyncpg==0.32.0")),
    "Procrastinate": Peer("with_procrastinate", ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9")),
    "SAQ": Peer("with_saq", ("saq[postgres]==0.26.4", "psycopg[binary,pool]==3.3.9")),
    "Taskiq": Peer("with_taskiq", ("taskiq==0.13.0", "taskiq-postgres[asyncpg]==0.9.1")),
}


def main(wanted: list[str]) -> int:
    """Measure lq and the *wanted* peers, by default all, and print the tables."""
    unknown = set(wanted) - set(PEERS)
    if unknown:
        print(f"There is no peer {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}.", file=sys.stderr)
        return 2
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
        found: dict[str, Found] = {name: {} for name in modules}
        for number, measure in _turns():
            print(f"Round {number + 1} of {ROUNDS}: {measure}", file=sys.stderr, flush=True)
            figures: Figures = {}
            for name, module in modules.items():
                try:
                    figures = _measured(server, module, measure, python=pythons[name])
                except subprocess.SubprocessError as error:
                    failed.append(f"{measure} of {name} could not be taken: {error}")
                    figures = dict.fromkeys(figures)  # The same rows without values.
                for row, value in figures.items():
                    found[name].setdefault(row, []).append(value)
    print(f"PostgreSQL {server.installation.version}, fsync and synchronous_commit on\n")
    print(_table(found, _figure))
    print(f"\nHow many times better {OURS} is:\n")
    print(_table(found, _ratio))
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _turns() -> Iterator[tuple[int, str]]:
    for number in range(ROUNDS):
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
    answer = subprocess.run(
        [python, HERE / "measures.py", module, address, measure],
        check=True,
        stdout=subprocess.PIPE,
        timeout=SECONDS_FOR_ONE,
    )
    server.drop_database(module)
    figures: Figures = json.loads(answer.stdout)
    return figures


def _table(found: Mapping[str, Found], cell: Cell) -> str:
    ours = found[OURS]
    lines = [["", *found], ["---"] * (len(found) + 1)]
    lines += [[row, *(cell(row, theirs, ours) for theirs in found.values())] for row in ours]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(row: str, theirs: Found, _ours: Found) -> str:
    values = [value for value in theirs[row] if value is not None]
    if not values:
        return "none"
    return f"{median(values) * 1000:.1f} ms" if row.startswith(SECONDS_OF_WAIT) else f"{median(values):,.0f}/s"


def _ratio(row: str, theirs: Found, ours: Found) -> str:
    pairs = zip(ours[row], theirs[row], strict=True)
    ratios = [mine / other for mine, other in pairs if mine is not None and other is not None]
    if not ratios:
        return "none"
    middle = median(ratios)
    return f"{1 / middle if row.startswith(SECONDS_OF_WAIT) else middle:.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
