"""The commands, where the records are in PostgreSQL."""

import sys
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from lq_core import Finding
from programs import Answer, run
from servers import PostgresServer

CONFIG = """
from lq_core import QueueConfig
from lq_postgres import PostgresConfig

queue = QueueConfig(queue_backend=PostgresConfig(dsn={dsn!r}, connect_timeout=2))
"""


WITH_POOL = """
from contextlib import asynccontextmanager

import asyncpg

from lq_core import QueueConfig
from lq_postgres import PostgresConfig


@asynccontextmanager
async def queue():
    async with asyncpg.create_pool({dsn!r}, min_size=1, max_size=4) as pool:
        yield QueueConfig(queue_backend=PostgresConfig(pool=pool))
"""


async def lq(folder: Path, *words: str, dsn: str) -> Answer:
    (folder / "shop.py").write_text(CONFIG.format(dsn=dsn))
    return await run(sys.executable, "-m", "lq_core", *words, "-c", "shop:queue", folder=folder)


async def test_the_schema_is_shown_printed_and_applied_by_other_means(postgres: PostgresServer, tmp_path: Path) -> None:
    dsn = postgres.create_database(f"shop_{uuid4().hex}")
    shown = await lq(tmp_path, "migrate", "--show", dsn=dsn)
    hurting = await lq(tmp_path, "doctor", "--json", dsn=dsn)
    printed = await lq(tmp_path, "migrate", "--sql", dsn=dsn)
    _ = postgres.run_sql(printed.out, at=dsn)
    after = await lq(tmp_path, "migrate", "--sql", dsn=dsn)
    well = await lq(tmp_path, "doctor", "--json", dsn=dsn)

    assert shown.out.startswith("0001_records is missing in postgresql://")
    assert (hurting.code, '"Run: lq migrate --config shop:queue"' in hurting.out) == (1, True)
    assert after.out.endswith("is up to date.\n")
    assert (well.code, len(msgspec.json.decode(well.out, type=list[Finding]))) == (0, 15)


async def test_an_async_function_may_open_a_pool_for_a_command(postgres: PostgresServer, tmp_path: Path) -> None:
    dsn = postgres.create_database(f"shop_{uuid4().hex}")
    (tmp_path / "shop.py").write_text(WITH_POOL.format(dsn=dsn))

    answers = [
        await run(sys.executable, "-m", "lq_core", *words, "-c", "shop:queue", folder=tmp_path)
        for words in (("migrate",), ("stats",), ("doctor",), ("records", "list"))
    ]

    assert [answer.code for answer in answers] == [0, 0, 0, 0], answers
    assert "schema.migrated number=1 migration=records seconds=" in answers[0].err


@pytest.mark.parametrize("words", [("stats",), ("records", "list"), ("schedules", "list")], ids="-".join)
async def test_a_look_into_the_wrong_database_leaves_nothing_there(
    postgres: PostgresServer, tmp_path: Path, words: tuple[str, ...]
) -> None:
    dsn = postgres.create_database(f"shop_{uuid4().hex}")
    answer = await lq(tmp_path, *words, dsn=dsn)

    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert answer.err.startswith("Error: postgresql://")
    assert " lacks 0001_records, 0002_keys, " in answer.err
    assert answer.err.endswith(". Run: lq migrate --config shop:queue\n")
    assert postgres.run_sql("SELECT to_regnamespace('lq') IS NULL", at=dsn) == "t"


@pytest.mark.parametrize(
    "dsn, said",
    [
        ("postgresql://ada:secret@127.0.0.1:1/shop", "Connect call failed ('127.0.0.1', 1). Does the server run"),
        ("postgresql://ada:secret@no-such-host.invalid/shop", "write @ as %40. lq takes the address from"),
        ("postgresql://ada:secret@127.0.0.1:port/shop", "The address cannot be read. Write it as postgresql://"),
        ("postgresql://ada:secret@127.0.0.1/shop?sslmode=odd", "`sslmode` parameter must be one of"),
        ("mysql://ada:secret@127.0.0.1/shop", "dsn, or LQ_POSTGRES_DSN, must begin with 'postgresql://'"),
    ],
)
async def test_a_wrong_address_is_told_in_one_line(tmp_path: Path, dsn: str, said: str) -> None:
    answer = await lq(tmp_path, "migrate", dsn=dsn)

    assert (answer.code, answer.err.count("\n"), said in answer.err) == (1, 1, True), answer.err
    assert "secret" not in answer.err


async def test_a_role_that_does_not_exist_is_told_in_one_line(postgres: PostgresServer, tmp_path: Path) -> None:
    answer = await lq(tmp_path, "migrate", dsn=postgres.dsn().replace("postgres@", "nobody@"))

    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "Check the user and the password of the DSN." in answer.err
