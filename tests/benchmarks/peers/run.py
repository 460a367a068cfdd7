"""
lq beside other queues on one durable PostgreSQL: a table of figures, and of ratios to the first column.

``./dev bench peers/run [NAME …]``. Each peer is installed, at the version written here, into an
environment that is thrown away. All take turns for several rounds, and the middle of them is told.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, TypeAlias

from servers import PostgresServer

HERE: Final = Path(__file__).parent
OURS: Final = "lq"
ROUNDS: Final = 3
SECONDS_FOR_ONE: Final = 300
SECONDS_OF_WAIT: Final = "pick-up"
"""Measures that begin so are waits, in seconds, and better when smaller."""

Figures: TypeAlias = Mapping[str, float | None]
Cell: TypeAlias = Callable[[str, Figures, Figures], str]


class Peer(NamedTuple):
    """A queue to measure: the module that drives it, and what to install for it."""

    module: str
    requirements: tuple[str, ...]


PEERS: Final[Mapping[str, Peer]] = {
    "PgQueuer": Peer("with_pgqueuer", ("pgqueuer==1.6.0", "asyncpg==0.32.0")),
    "Procrastinate": Peer("with_procrastinate", ("procrastinate==3.10.0", "psycopg[binary,pool]==3.3.9")),
    "SAQ": Peer("with_saq", ("saq[postgres]==0.26.4", "psycopg[binary,pool]==3.3.9")),
}


def main(wanted: list[str]) -> int:
    """Measure lq and the *wanted* peers, all without any named, and print the tables."""
    unknown = set(wanted) - set(PEERS)
    if unknown:
        print(f"There is no peer {', '.join(sorted(unknown))}; there are: {', '.join(PEERS)}.", file=sys.stderr)
        return 2
    rounds: dict[str, list[Figures]] = {OURS: []}
    failed: list[str] = []
    with PostgresServer(durable=True) as server, tempfile.TemporaryDirectory(prefix="lq-peers-") as room:
        pythons = {OURS: Path(sys.executable)}
        for name in wanted or PEERS:
            try:
                pythons[name] = _installed(PEERS[name], Path(room) / name)
            except subprocess.SubprocessError as error:
                failed.append(f"{name} could not be installed: {error}")
        for _ in range(ROUNDS):
            for name, python in pythons.items():
                module = OURS if name == OURS else PEERS[name].module
                try:
                    rounds.setdefault(name, []).append(_measured(server, module, python=python))
                except subprocess.SubprocessError as error:
                    failed.append(f"{name} could not be measured: {error}")
    found = {name: _middle(figures) for name, figures in rounds.items() if figures}
    if found:
        print(f"PostgreSQL {server.installation.version}, fsync and synchronous_commit on\n")
        print(_table(found, _figure))
        print(f"\nHow many times better {next(iter(found))} is:\n")
        print(_table(found, _ratio))
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _middle(rounds: Sequence[Figures]) -> Figures:
    """Take the middle of what several rounds have brought; None where a round has brought nothing."""
    values = {measure: [figures[measure] for figures in rounds] for measure in rounds[0]}
    return {
        measure: None if None in found else median(one for one in found if one is not None)
        for measure, found in values.items()
    }


def _installed(peer: Peer, room: Path) -> Path:
    uv = shutil.which("uv")
    assert uv is not None, "./dev puts uv on the path"
    _ = subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, room], check=True)
    python = room / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--python", python, "typing-extensions", *peer.requirements]
    _ = subprocess.run(install, check=True)
    return python


def _measured(server: PostgresServer, module: str, *, python: Path) -> Figures:
    print(f"Measuring {module}", file=sys.stderr, flush=True)
    address = server.create_database(module)
    answer = subprocess.run(
        [python, HERE / "measures.py", module, address], check=True, stdout=subprocess.PIPE, timeout=SECONDS_FOR_ONE
    )
    server.drop_database(module)
    figures: Figures = json.loads(answer.stdout)
    return figures


def _table(found: Mapping[str, Figures], cell: Cell) -> str:
    first = next(iter(found.values()))
    lines = [["", *found], ["---"] * (len(found) + 1)]
    lines += [[measure, *(cell(measure, figures, first) for figures in found.values())] for measure in first]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figure(measure: str, figures: Figures, first: Figures) -> str:
    value = figures[measure]
    if value is None:
        return "none"
    return f"{value * 1000:.1f} ms" if measure.startswith(SECONDS_OF_WAIT) else f"{value:,.0f}/s"


def _ratio(measure: str, figures: Figures, first: Figures) -> str:
    value, ours = figures[measure], first[measure]
    if value is None or ours is None:
        return "none"
    return f"{value / ours if measure.startswith(SECONDS_OF_WAIT) else ours / value:.2f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
