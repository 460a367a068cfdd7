"""The short form of the soak; ``./dev soak --minutes 10`` is the long one."""

from pathlib import Path
from uuid import uuid4

import pytest

from servers import PostgresServer
from soak import Soak, SoakPlan

SEED = 20_261_025
SHORT = SoakPlan(seconds=10)


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "lq.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database(f"soak_{uuid4().hex}")


async def test_whatever_happens_to_its_processes_nothing_is_lost_or_recorded_twice(
    address: str, tmp_path: Path
) -> None:
    soak = Soak(address, tmp_path, seed=SEED, plan=SHORT, say=print)

    result = await soak.run()

    assert result.problems == []
    assert result.counts["effects"] > 100
    assert sum(soak.disturbances.values()) > 2
