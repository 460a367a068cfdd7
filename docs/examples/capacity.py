"""
Computes what records need: cores, write-ahead log, disk, worker processes, and the number of databases.

The costs of one record are in ``capacity.json``, as ``./dev bench capacity`` has measured them; costs between the
measured payloads lie on a line. ``python capacity.py --rate 2000 --size 1000`` prints one load; without arguments, it
prints the table of docs/scaling.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

LOADED: Final = 0.5
"""The share of a core or a disk that the load may use; the rest is for peaks, vacuum and backups."""

LOADS: Final = ((100, 1_000), (1_000, 1_000), (5_000, 1_000), (5_000, 10_000), (20_000, 1_000), (50_000, 1_000))


Costs: TypeAlias = Sequence[Mapping[str, Any]]


class Server(NamedTuple):
    """One database server: put in yours."""

    cores: float = 8
    wal_mb: float = 200
    """Megabytes of write-ahead log that its disk, its archive and its replicas take in a second."""

    disk_gb: float = 1_000


class Needs(NamedTuple):
    """What a load needs."""

    server_cores: float
    wal_mb: float
    """Megabytes in a second."""

    disk_gb: float
    client_cores: float
    """For enqueues and workers together, without the time of the tasks themselves."""

    slots: int
    """How many records run at once."""

    workers: int
    """Processes: each has one core and some slots."""

    databases: int
    limit: str
    """What decides the number of databases."""


def line(costs: Costs, size: float, step: str, name: str) -> float:
    """Return a cost for a payload, on the line through the smallest and the largest one that were measured."""
    (low, *_, high), (first, *_, last) = [one[step][name] for one in costs], [one["payload"] for one in costs]
    slope = max(0.0, (high - low) / (last - first))
    return max(0.0, low + slope * (size - first))


def needs(
    costs: Costs,
    *,
    rate: float,
    size: float,
    days: float = 1,
    kept: float = 1_000_000,
    seconds: float = 0.1,
    concurrency: int = 50,
    alone: float = 0,
    server: Server | None = None,
) -> Needs:
    """
    Return what a load needs.

    *rate* is in records per second, *size* in bytes of arguments and result. *days* is the retention, and *kept* the
    ``retention_count``. *seconds* is how long a task takes, most of which it waits, and *concurrency* the slots of a
    worker. *alone* is the share of records that are not enqueued together with others, from 0 to 1.
    """
    server = server or Server()

    def cost(name: str) -> float:
        enqueue = (1 - alone) * line(costs, size, "enqueue", name) + alone * line(costs, size, "enqueue_alone", name)
        return enqueue + line(costs, size, "run", name) + line(costs, size, "delete", name)

    cores, wal = rate * cost("server_us") / 1e6, rate * cost("wal_bytes") / 1e6
    disk = min(rate * 86_400 * days, kept) * line(costs, size, "stored", "disk_bytes") / 1e9
    slots = ceil(rate * seconds)
    workers = max(ceil(rate * line(costs, size, "run", "client_us") / 1e6 / LOADED), ceil(slots / concurrency))
    wanted = {
        "cores": cores / (server.cores * LOADED),
        "log": wal / (server.wal_mb * LOADED),
        "disk": disk / (server.disk_gb * LOADED),
    }
    limit = max(wanted, key=lambda name: wanted[name])
    clients = rate * cost("client_us") / 1e6
    return Needs(cores, wal, disk, clients, slots, workers, max(1, ceil(wanted[limit])), limit)


def measured() -> Costs:
    """Read the measured costs, the smallest payload first."""
    costs: Costs = json.loads((Path(__file__).parent / "capacity.json").read_text())["costs"]
    return costs


def row(rate: float, size: float, found: Needs) -> str:
    """Write one line of the table."""
    cells = (
        *(f"{rate:,.0f}/s", f"{size:,.0f} B", f"{found.server_cores:.1f}", f"{found.wal_mb:.1f} MB/s"),
        *(f"{found.disk_gb:,.0f} GB", f"{found.slots:,}", f"{found.workers}", f"{found.databases} ({found.limit})"),
    )
    return f"| {' | '.join(cells)} |"


HEAD: Final = (
    "| records | size | cores of the server | log | disk | slots | worker processes | databases (what decides) |\n"
    "|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def table() -> str:
    """Write the table of the documentation."""
    return "\n".join([HEAD, *(row(rate, size, needs(measured(), rate=rate, size=size)) for rate, size in LOADS)])


def main() -> None:
    """Print the table, or one load."""
    parser = argparse.ArgumentParser(description="What records need.")
    for name in ("rate", "size"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--days", type=float, default=1)
    parser.add_argument("--kept", type=float, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--alone", type=float, default=0)
    for name, value in Server()._asdict().items():
        parser.add_argument(f"--server-{name.replace('_', '-')}", type=float, default=value)
    given = vars(parser.parse_args())
    if given["rate"] is None:
        print(table())
        return
    server = Server(**{name: given.pop(f"server_{name}") for name in Server._fields})
    given["size"] = given["size"] or 1_000.0
    print(f"{HEAD}\n{row(given['rate'], given['size'], needs(measured(), server=server, **given))}")


if __name__ == "__main__":
    main()
