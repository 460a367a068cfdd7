"""The file of the SQLite queue backend: open, migrate, refuse, and commit in groups."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from lq_core.config.queue_config import QueueConfig
from lq_core.contracts import a_claim, a_record, a_worker, opened
from lq_core.foundation.errors import ConfigurationError, SchemaError, StorageError
from lq_core.queue import get_queue_backend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend


def in_file(path: Path, *, auto_migrate: bool = True) -> SQLiteQueueBackend:
    """Make a backend for a file."""
    return SQLiteQueueBackend(settings=SQLiteConfig(path=path, auto_migrate=auto_migrate))


def a_folder(path: Path) -> None:
    """Make a folder where the file should be."""
    path.mkdir()


def some_text(path: Path) -> None:
    """Write a file that is not a database."""
    path.write_text("Dear diary, " * 1000)


@pytest.mark.parametrize(
    "spoil, complaint",
    [(a_folder, "it is a directory"), (some_text, "it is not an SQLite database")],
)
async def test_a_path_that_is_not_a_database_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], complaint: str
) -> None:
    path = tmp_path / "lq.db"
    spoil(path)

    with pytest.raises(StorageError, match=complaint) as caught:
        await in_file(path).open()

    assert str(path) in str(caught.value)
    assert "LQ_SQLITE_PATH" in str(caught.value)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="mkdir -p"):
        await in_file(tmp_path / "absent" / "lq.db").open()


async def test_a_file_that_was_removed_is_not_written_to_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        path.rename(tmp_path / "elsewhere.db")

        with pytest.raises(StorageError, match="removed or replaced"):
            await queue.insert([a_record()])

        (tmp_path / "elsewhere.db").rename(path)
        assert (await queue.insert([a_record()]))[0].created


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert in_file(Path("~/lq.db")).path == tmp_path / "lq.db"


async def test_what_is_too_big_for_sqlite_fails_alone_and_is_not_the_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    body = "BEGIN SELECT zeroblob(2000000000); END"
    async with opened(in_file(path)) as queue:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"CREATE TRIGGER big BEFORE INSERT ON records WHEN NEW.task_name = 'big' {body}")
        big, small = await asyncio.gather(
            queue.insert([a_record(task_name="big")]), queue.insert([a_record()]), return_exceptions=True
        )

    assert isinstance(big, ValueError)
    assert str(big) == "SQLite cannot store this record: string or blob too big"
    assert not isinstance(small, BaseException)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(SchemaError, match=r"version 99.*Upgrade lq-core"):
        await in_file(path).open()


async def test_a_newer_schema_that_this_code_may_run_beside_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migrations (number, runs_beside) VALUES (99, 1)")
    connection.close()

    async with opened(in_file(path, auto_migrate=False)) as queue:
        assert (await queue.insert([a_record()]))[0].created


async def test_a_file_of_another_application_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE records (name TEXT)")
    connection.close()

    with pytest.raises(SchemaError, match="another application"):
        await in_file(path).open()


async def test_an_old_schema_is_refused_where_it_may_not_be_migrated(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"Run: LQ_SQLITE_PATH=.* lq migrate"):
        await in_file(tmp_path / "lq.db", auto_migrate=False).open()


async def test_a_current_schema_opens_without_migration(tmp_path: Path) -> None:
    async with opened(in_file(tmp_path / "lq.db")):
        pass

    async with opened(in_file(tmp_path / "lq.db", auto_migrate=False)) as queue:
        assert await queue.get(a_record().id) is None


def test_one_object_serves_one_loop_after_the_other(tmp_path: Path) -> None:
    queue = in_file(tmp_path / "lq.db")
    record = a_record()

    async def first() -> None:
        async with opened(queue):
            await queue.insert([record])

    async def second() -> None:
        async with opened(queue):
            assert await queue.get(record.id) == record

    asyncio.run(first())
    asyncio.run(second())


async def test_a_closed_backend_says_so(tmp_path: Path) -> None:
    queue = in_file(tmp_path / "lq.db")
    async with opened(queue):
        pass
    await queue.close()

    with pytest.raises(StorageError, match="is not open"):
        await queue.insert([a_record()])


async def test_a_close_that_is_cancelled_half_way_closes_the_rest(tmp_path: Path) -> None:
    queue, others = in_file(tmp_path / "lq.db"), set(threading.enumerate())
    await queue.open()
    await queue.insert([a_record()])
    writers = [thread for thread in {*threading.enumerate()} - others if thread.name == "lq-sqlite-writer"]
    reading, read_on = threading.Event(), threading.Event()

    def read(_: sqlite3.Connection) -> None:
        reading.set()
        read_on.wait(10)

    answer = asyncio.create_task(queue._read_once(read))  # pyright: ignore[reportPrivateUsage] -- a read that takes long
    await asyncio.to_thread(reading.wait, 10)
    closing_it = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    closing_it.cancel()
    await asyncio.gather(closing_it, return_exceptions=True)
    read_on.set()
    await answer
    for writer in writers:
        await asyncio.to_thread(writer.join, 10)

    assert closing_it.cancelled()
    assert not (tmp_path / "lq.db-wal").exists()


async def test_fifty_concurrent_inserts_take_few_commits(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        before = commits(path)

        await asyncio.gather(*[queue.insert([a_record()]) for _ in range(50)])

        assert 1 <= commits(path) - before <= 3


async def test_an_idle_worker_does_not_lock_the_file(tmp_path: Path) -> None:
    """Its polls only read, so they succeed while another connection writes."""
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        await queue.register(a_worker())
        await queue.insert([a_record(delay=60), a_record(queue="paused")])
        await queue.change_queue("paused", paused=True)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(10):
            answer = await queue.claim(a_claim())
            orphans = await queue.orphans(timeout=60, limit=10)
        other.execute("ROLLBACK")
        other.close()

        assert (answer.records, answer.alive, list(orphans)) == ((), True, [])


async def test_a_write_waits_for_a_lock_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    async with opened(in_file(path)) as queue:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(queue.insert([a_record()]))
        await queue.statistics()
        assert not writing.done()
        other.execute("ROLLBACK")
        other.close()

        async with asyncio.timeout(10):
            (insertion,) = await writing
        assert insertion.created


async def test_a_heartbeat_has_the_moment_of_its_write(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    queue, at = in_file(path), datetime(2026, 1, 1, tzinfo=UTC)
    queue.now = lambda: at
    async with opened(queue):
        await queue.register(a_worker("ada"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            beating = asyncio.create_task(queue.beat("ada"))
            await queue.workers()
            at += timedelta(seconds=4)
            other.execute("ROLLBACK")
        await beating

        assert [worker.seen_at for worker in await queue.workers()] == [at]


async def test_the_time_for_which_a_file_is_locked_is_not_silence(tmp_path: Path) -> None:
    path = tmp_path / "lq.db"
    queue, at = in_file(path), datetime(2026, 1, 1, tzinfo=UTC)
    queue.now = lambda: at
    async with opened(queue):
        await queue.register(a_worker("dead"))
        at += timedelta(seconds=3)
        await queue.register(a_worker("ada"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            looking = asyncio.create_task(queue.orphans(timeout=2, limit=10))
            await queue.workers()
            await queue.workers()
            at += timedelta(seconds=4)
            other.execute("ROLLBACK")
        await looking

        assert [worker.id for worker in await queue.workers()] == ["ada"]


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 10, 25, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=1))),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    ids=str,
)
async def test_moments_come_back_exactly(tmp_path: Path, moment: datetime) -> None:
    record = a_record(created_at=moment, scheduled_at=moment, expires_at=moment)
    async with opened(in_file(tmp_path / "lq.db")) as queue:
        await queue.insert([record])

        found = await queue.get(record.id)

    assert found == record
    assert found is not None
    assert found.created_at.tzinfo is UTC


def test_the_default_file_may_be_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LQ_SQLITE_PATH", str(tmp_path / "elsewhere.db"))
    config = QueueConfig()

    queue = get_queue_backend(config.queue_backend, config)

    assert queue.address == f"sqlite:{tmp_path / 'elsewhere.db'}"


def test_settings_choose_the_backend(tmp_path: Path) -> None:
    queue = get_queue_backend(SQLiteConfig(path=tmp_path / "mine.db"))

    assert isinstance(queue, SQLiteQueueBackend)
    assert queue.path == tmp_path / "mine.db"


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='queue_backend="memory"'):
        SQLiteConfig(path=":memory:")


def commits(path: Path) -> int:
    """Count the commits in the write-ahead log: the frames with the new size of the database."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    page_size = int.from_bytes(log[8:12])
    frames = range(32, len(log), 24 + page_size)
    return sum(int.from_bytes(log[start + 4 : start + 8]) != 0 for start in frames)
