"""
Computes what records cost on Cloud Run, by the way they run, from ``prices.json``; prints a table in Markdown.

Records arrive evenly over a month. A container has 1 vCPU and 512 MiB, and in pull mode and in a pool it runs four
records at once. The free tier, the database and the network are left out.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

MONTH: Final = 730 * 3600.0
VCPU, GIB = 1.0, 0.5
AT_ONCE: Final = 4
BOOT: Final = 5.0
"""Seconds to import the program and to connect."""

LINGER: Final = 10.0
"""Seconds that a container in pull mode waits for further records."""

AWAKE: Final = 600.0
"""Seconds until a pool without work is at zero: five minutes of demand, and `--scale-in-after`."""

LOADS: Final = ((100, 3600.0), (1_000, 600.0), (10_000, 30.0), (100_000, 5.0), (1_000_000, 1.0), (10_000_000, 0.2))


class Price(NamedTuple):
    """The price of one second of one container, and the shortest time that is billed."""

    second: float
    shortest: float

    def of(self, containers: float, seconds: float) -> float:
        """Return the price of some containers that run for some seconds each."""
        return containers * max(seconds, self.shortest) * self.second


def costs(records: int, takes: float, *, job: Price, pool: Price) -> dict[str, float]:
    """Return the costs of a month, by way of running."""
    gap, busy = MONTH / records, records * takes / AT_ONCE
    always = max(MONTH, busy)
    return {
        "one job each": job.of(records, BOOT + takes),
        "pull mode": job.of(records, BOOT + takes + LINGER) if gap > takes + LINGER else job.of(1, always),
        "worker pool": pool.of(records, BOOT + takes + AWAKE) if gap > takes + AWAKE else pool.of(1, always),
    }


def price(of: Mapping[str, float]) -> Price:
    """Read the price of a container."""
    return Price(VCPU * of["vcpu_second"] + GIB * of["gib_second"], of["shortest_seconds"])


def table() -> str:
    """Write the table; the cheapest way of each line is bold."""
    prices = json.loads((Path(__file__).parent / "prices.json").read_text())
    lines = ["| records a month | each takes | one job each | pull mode | worker pool |", "|---|---|---|---|---|"]
    for records, takes in LOADS:
        found = costs(records, takes, job=price(prices["job"]), pool=price(prices["worker_pool"]))
        cheapest = min(found.values())
        cells = [f"**${each:,.2f}**" if each == cheapest else f"${each:,.2f}" for each in found.values()]
        lines.append(f"| {' | '.join([f'{records:,}', f'{takes:g} s', *cells])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
