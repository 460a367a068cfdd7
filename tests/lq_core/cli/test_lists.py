"""What ``lq`` lists: as data for programs with ``--json``, and a record that is asked to stop."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from lq_core import QueueConfig, QueueService
from lq_core.queue.sqlite import SQLiteConfig
from programs import run
from sqlite_file import SQLiteFile


async def data(folder: Path, *words: str) -> Any:
    answer = await run(sys.executable, "-m", "lq_core", *words, "--json", folder=folder)
    assert (answer.code, answer.err) == (0, "")
    return msgspec.json.decode(answer.out)


async def test_queues_are_listed_with_their_state_and_their_work(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")
    async with QueueService(QueueConfig(queue_backend=SQLiteConfig(path=folder / "lq.db"))) as service:
        await service.pause("mail")
        await service.limit_queue("mail", concurrency=2)

    mail = (await data(folder, "queues", "list"))["mail"]

    assert (mail["paused"], mail["pending"], mail["running"], mail["limits"]["concurrency"]) == (True, 1, 0, 2)


async def test_tasks_are_listed_with_their_options(folder: Path) -> None:
    tasks = {task["name"]: task for task in await data(folder, "tasks", "shop:make")}

    assert tasks["shop.send"]["queue"] == "mail"
    assert "number" in tasks["shop.send"]["signature"]


async def test_a_record_that_is_asked_to_stop_is_listed_as_such(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")
    async with QueueService(QueueConfig(queue_backend=SQLiteConfig(path=folder / "lq.db"))) as service:
        await service.queue_backend.claim_one(record.id, record.epoch, worker_id="elsewhere")
        assert await service.cancel(record.id)

    listed = await run(sys.executable, "-m", "lq_core", "records", "list", folder=folder)

    assert "asked to stop" in listed.out
