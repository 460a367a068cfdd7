"""The commands for a configuration with several stores."""

import signal
import sys
from pathlib import Path

import pytest

from programs import run, running

LQ = (sys.executable, "-m", "lq_core")

STORES = """
from dataclasses import replace

import shop
from lq_core.queue.sqlite import SQLiteConfig

stores = {"bulk": SQLiteConfig(path="bulk.db")}
every = replace(shop.queue, stores=stores, routes={"mail": "bulk"})
bulk, main = every.of_store("bulk"), every.of_store("main")
"""


@pytest.fixture
def store_folder(folder: Path) -> Path:
    (folder / "stores.py").write_text(STORES)
    return folder


async def test_a_worker_serves_all_stores_of_its_configuration(store_folder: Path) -> None:
    sent = await run(*LQ, "enqueue", "stores:bulk", "shop.send", "1", folder=store_folder)
    assert sent.code == 0, sent.err

    async with running(*LQ, "worker", "stores:every", folder=store_folder) as worker:
        await worker.line_with("task.completed")
        code = await worker.end(signal.SIGINT)

    kept = await run(*LQ, "records", "list", "stores:bulk", folder=store_folder)
    said = "".join(worker.printed)
    assert code == 0
    assert "completed" in kept.out
    assert f"main: sqlite:{store_folder}/lq.db, bulk: sqlite:{store_folder}/bulk.db" in said
    assert "Ran 1: 1 completed" in said


@pytest.mark.parametrize("command", ["stats", "doctor", "migrate", "enqueue shop.send 1"])
async def test_another_command_needs_one_store(store_folder: Path, command: str) -> None:
    answer = await run(*LQ, "-c", "stores:every", *command.split(), folder=store_folder)

    assert answer.code == 1
    assert "several: main, bulk" in answer.err
    assert "`bulk = config.of_store('bulk')`" in answer.err


async def test_a_command_of_one_store_refuses_a_queue_of_another_one(store_folder: Path) -> None:
    answer = await run(*LQ, "enqueue", "stores:bulk", "shop.hold", folder=store_folder)

    assert answer.code == 1
    assert "The queue 'default' is in the store 'main'" in answer.err


async def test_a_command_on_a_queue_says_where_its_new_records_go(store_folder: Path) -> None:
    for store, *call in (("bulk", "shop.send", "1"), ("main", "shop.hold")):
        assert (await run(*LQ, "enqueue", f"stores:{store}", *call, folder=store_folder)).code == 0
    bulk = await run(*LQ, "queues", "pause", "stores:bulk", "mail", folder=store_folder)
    main = await run(*LQ, "queues", "pause", "stores:main", "mail", folder=store_folder)

    assert (bulk.code, bulk.out, "Warning: new records" in bulk.err) == (0, "mail is paused.\n", False), bulk.err
    assert (main.code, main.out) == (0, "mail is paused.\n")
    assert "Warning: new records of mail go to the store bulk, but this is the store main." in main.err
