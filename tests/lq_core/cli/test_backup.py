"""``lq backup`` copies a queue that is in use, and overwrites nothing unasked."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lq_core import ConfigurationError, StorageError
from lq_core.contracts import a_record, opened
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend
from programs import Answer, run
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


def in_file(path: Path) -> SQLiteQueueBackend:
    return SQLiteQueueBackend(settings=SQLiteConfig(path=path))


def copies_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.glob("copy*"))


async def test_a_copy_has_all_records(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")

    copied = await lq(folder, "backup", "copy.db")

    assert copied.code == 0
    assert f"Copied 1 record of sqlite:{folder / 'lq.db'} to {folder / 'copy.db'}" in copied.out
    assert await SQLiteFile(folder / "copy.db").read(record.id) == record
    assert copies_in(folder) == ["copy.db"]


async def test_a_file_is_overwritten_only_with_force(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")
    (folder / "copy.db").write_text("a diary")

    refused = await lq(folder, "backup", "copy.db")
    kept = (folder / "copy.db").read_text()
    forced = await lq(folder, "backup", "copy.db", "--force")

    assert (refused.code, kept, forced.code) == (1, "a diary", 0)
    assert "overwrite it: --force" in refused.err


async def test_the_queue_itself_and_databases_in_use_are_never_overwritten(tmp_path: Path) -> None:
    queue, other = in_file(tmp_path / "lq.db"), in_file(tmp_path / "other.db")
    async with opened(queue), opened(other):
        with pytest.raises(StorageError, match="the file of the queue itself"):
            await queue.back_up(tmp_path / "lq.db", overwrite=True)
        with pytest.raises(StorageError, match="a database in use"):
            await queue.back_up(tmp_path / "other.db", overwrite=True)
        with pytest.raises(StorageError, match="mkdir -p"):
            await queue.back_up(tmp_path / "absent" / "copy.db")


async def test_a_copy_is_one_moment_of_a_queue_that_is_written(tmp_path: Path) -> None:
    """Each pair of records is stored in one transaction."""
    queue = in_file(tmp_path / "lq.db")
    async with opened(queue):
        writing = asyncio.create_task(write_pairs(queue))
        for number in range(5):
            copied = await queue.back_up(tmp_path / f"copy{number}.db")
            assert copied.records % 2 == 0
        writing.cancel()
        stored = await queue.insert([a_record()])
        copied = await queue.back_up(tmp_path / "last.db")

    with closing(sqlite3.connect(copied.path)) as copy:
        assert copy.execute("SELECT count(*) FROM records").fetchone() == (copied.records,)
        assert copy.execute("SELECT 1 FROM records WHERE id = ?", (stored[0].record.id.bytes,)).fetchone()


async def write_pairs(queue: SQLiteQueueBackend) -> None:
    while True:
        await queue.insert([a_record(), a_record()])


async def test_a_file_of_another_application_is_not_copied(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "lq.db")) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")

    refused = await lq(folder, "backup", "copy.db")

    assert refused.code == 1
    assert "the database of another application" in refused.err
    assert copies_in(folder) == []


async def test_a_missing_queue_is_not_created(folder: Path) -> None:
    refused = await lq(folder, "backup", "copy.db")

    assert refused.code == 1
    assert "There is no queue" in refused.err
    assert not (folder / "lq.db").exists()


async def test_a_store_that_cannot_copy_itself_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pg_dump"):
        await InMemoryQueueBackend().back_up(tmp_path / "copy.db")
