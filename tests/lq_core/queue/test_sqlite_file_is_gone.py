"""A SQLite file is copied, moved, deleted or replaced while it is in use: nothing acknowledged is lost."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.foundation.clock import utc_now
from lq_core.foundation.errors import StorageError
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

BESIDE = ("", "-wal", "-shm")
LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM records").fetchone()[0])
connection.close()
"""


def in_file(path: Path, clock: Callable[[], datetime] = utc_now) -> SQLiteQueueBackend:
    """Make a backend for a file."""
    return SQLiteQueueBackend(settings=SQLiteConfig(path=path), clock=clock)


def beside(path: Path, suffix: str) -> Path:
    """Name one of the three files of a database."""
    return path.with_name(path.name + suffix)


def seen_by_others(path: Path) -> int:
    """Count the records in another process, which then closes the file."""
    looking = subprocess.run([sys.executable, "-c", LOOK, str(path)], check=True, capture_output=True, text=True)
    return int(looking.stdout)


@pytest.mark.parametrize("suffix", BESIDE)
async def test_a_copy_of_a_file_in_use_loses_nothing(tmp_path: Path, suffix: str) -> None:
    """To close a descriptor of the file drops the locks of SQLite."""
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        for number in range(5):
            shutil.copyfile(beside(path, suffix), tmp_path / "copy")
            assert seen_by_others(path) == number + 1
            await queue.insert([a_record()])

        assert seen_by_others(path) == 6
    assert not any(beside(path, suffix).exists() for suffix in ("-wal", "-shm"))


async def test_without_locks_of_descriptors_a_copy_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems than Linux, the log is deleted; then the file is opened again."""
    monkeypatch.setattr(sys, "platform", "darwin")
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        for number in range(5):
            shutil.copyfile(path, tmp_path / "copy")
            assert seen_by_others(path) == number + 1
            await queue.insert([a_record()])

        assert seen_by_others(path) == 6


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("suffixes", [("-wal",), ("-shm",), ("-wal", "-shm")], ids="".join)
async def test_a_log_that_was_deleted_is_written_again(tmp_path: Path, suffixes: tuple[str, ...], others: int) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue, opened(in_file(path if others else tmp_path / "other.db")) as other:
        await queue.insert([a_record()])
        await other.insert([a_record()])
        for suffix in suffixes:
            beside(path, suffix).unlink()

        refused = 0
        for one in (queue, other, queue, other):
            try:
                await one.insert([a_record()])
            except StorageError:
                refused += 1

        assert seen_by_others(path) == 3 + 3 * others - refused
        assert refused <= others
        assert (await queue.statistics()).counts
    assert seen_by_others(path) == 3 + 3 * others - refused


async def test_what_was_committed_before_the_log_was_deleted_is_saved_by_closing(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        beside(path, "-wal").unlink()

    assert seen_by_others(path) == 1


@pytest.mark.parametrize("suffix", ["", "-shm"])
async def test_a_file_that_is_deleted_during_a_transaction_is_not_acknowledged(tmp_path: Path, suffix: str) -> None:
    """The clock is asked inside the transaction."""
    path = tmp_path / "lq.db"

    def delete_and_tell() -> datetime:
        beside(path, suffix).unlink(missing_ok=True)
        return utc_now()

    queue = in_file(path)
    async with opened(queue):
        await queue.insert([a_record()])
        queue.now = delete_and_tell

        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.insert([a_record()])


async def test_a_log_that_is_deleted_during_a_transaction_is_written_before_the_answer(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"

    def delete_and_tell() -> datetime:
        beside(path, "-wal").unlink(missing_ok=True)
        return utc_now()

    queue = in_file(path)
    async with opened(queue):
        await queue.insert([a_record()])
        queue.now = delete_and_tell

        await queue.insert([a_record()])

        assert seen_by_others(path) == 2


async def test_a_file_that_was_replaced_is_neither_written_nor_read(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(tmp_path / "restored.db")) as restored:
        await restored.insert([a_record()])
    queue = in_file(path)
    async with opened(queue):
        await queue.register(a_worker())
        await queue.insert([a_record(), a_record()])
        (tmp_path / "restored.db").rename(path)
        beside(path, "-wal").unlink()
        beside(path, "-shm").unlink()

        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.insert([a_record()])
        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.statistics()
        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.claim(a_claim())
        assert seen_by_others(path) == 1
    assert seen_by_others(path) == 1
    async with opened(queue):
        assert (await queue.insert([a_record()]))[0].created
    assert seen_by_others(path) == 2


async def test_a_file_that_is_moved_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        path.rename(tmp_path / "moved.db")

        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.insert([a_record()])

        assert seen_by_others(tmp_path / "moved.db") == 1


async def test_a_link_to_a_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    path = tmp_path / "lq.db"
    path.symlink_to(tmp_path / "disk" / "real.db")
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        shutil.copyfile(path, tmp_path / "copy")
        assert seen_by_others(path) == 1
        await queue.insert([a_record()])
        assert seen_by_others(path) == 2
        path.unlink()

        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.insert([a_record()])


async def test_a_file_without_a_log_is_opened_with_one(tmp_path: Path) -> None:
    """A copy that ``VACUUM INTO`` has made has none."""
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE").fetchone()

    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        assert seen_by_others(path) == 2


async def test_another_connection_of_the_process_changes_nothing(tmp_path: Path) -> None:
    """A backend that closes leaves the locks of other connections alone."""
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.insert([a_record()])
        with closing(sqlite3.connect(path, isolation_level=None)) as raw:
            raw.execute("SELECT count(*) FROM records").fetchone()
            async with opened(in_file(path)) as other:
                await other.insert([a_record()])
            async with opened(in_file(path)) as other:
                await other.insert([a_record()])
                await queue.insert([a_record()])
            assert seen_by_others(path) == 4
            await queue.insert([a_record()])

        assert seen_by_others(path) == 5
