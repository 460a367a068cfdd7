"""What hurts is told, with what to do about it, and the schema is looked at, printed and applied."""

import sqlite3
import sys
from pathlib import Path

import msgspec
import pytest

from lq_core import Finding
from lq_core.queue.sqlite import health
from programs import Answer, run
from shelf import Shelf

LQ = (sys.executable, "-m", "lq_core")


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


def hurting(answer: Answer) -> dict[str, str | None]:
    findings = msgspec.json.decode(answer.out, type=list[Finding])
    return {finding.check: finding.advice for finding in findings if finding.advice}


async def test_a_queue_that_is_well_ends_with_0(folder: Path) -> None:
    migrated = await lq(folder, "migrate")
    looked = await lq(folder, "doctor")

    assert (migrated.code, looked.code) == (0, 0)
    assert "journal mode              well   wal" in looked.out
    assert looked.out.endswith("lq.db is well.\n")


async def test_what_hurts_comes_with_what_to_do_and_ends_with_1(folder: Path) -> None:
    await Shelf(folder / "lq.db").put("shop.send", queue="mail")

    looked = await lq(folder, "doctor")
    as_json = await lq(folder, "doctor", "--json")

    assert (looked.code, as_json.code) == (1, 1)
    assert "workers: Start a worker: lq worker module:config\n" in looked.out
    assert hurting(as_json) == {"workers": "Start a worker: lq worker module:config"}


async def test_a_doctor_does_not_bring_the_schema_up_to_date(folder: Path) -> None:
    (folder / "lq.db").touch()

    assert hurting(await lq(folder, "doctor", "--json")) == {"schema": "Run: lq migrate"}
    assert (folder / "lq.db").stat().st_size == 0


async def test_the_advice_is_for_the_file_that_was_looked_at(folder: Path) -> None:
    (folder / "other one.db").touch()
    looked = await run(*LQ, "doctor", "--json", folder=folder, LQ_SQLITE_PATH="other one.db")

    assert hurting(looked) == {"schema": "Run: LQ_SQLITE_PATH='other one.db' lq migrate"}


async def test_a_file_that_is_no_database_hurts(folder: Path) -> None:
    (folder / "lq.db").write_text("This is a letter, and not a database at all." * 100)

    looked = await lq(folder, "doctor")

    assert looked.code == 1
    assert "it is not an SQLite database" in looked.out


async def test_what_is_missing_is_shown_and_nothing_is_changed(folder: Path) -> None:
    before = await lq(folder, "migrate", "--show")
    untouched = (folder / "lq.db").exists()
    applied = await lq(folder, "migrate")
    after = await lq(folder, "migrate", "--show")

    assert (before.out, untouched) == (f"0001_records is missing in sqlite:{folder}/lq.db.\n", False)
    assert applied.out.startswith("0001_records was applied.\n")
    assert after.out.endswith("is up to date.\n")


async def test_the_schema_may_be_applied_by_other_means(folder: Path) -> None:
    printed = await lq(folder, "migrate", "--sql")
    connection = sqlite3.connect(folder / "lq.db")
    connection.executescript(printed.out)
    connection.close()

    assert (await lq(folder, "migrate", "--sql")).out.startswith("-- The schema of")
    assert (await lq(folder, "doctor")).code == 0


@pytest.mark.parametrize("kind, hurts", [("ext4", False), ("nfs4", True)])
def test_a_network_file_system_is_noticed(tmp_path: Path, kind: str, hurts: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / overlay rw 0 0\nserver:/share {tmp_path} {kind} rw 0 0\n")
    (tmp_path / "lq.db").touch()

    finding = {found.check: found for found in health.surroundings(tmp_path / "lq.db", mounts=mounts)}["file system"]

    assert (finding.found, finding.advice is not None) == (f"{kind} at {tmp_path}", hurts)


@pytest.mark.parametrize("words", [["migrate", "--show"], ["doctor"], ["stats"], ["workers"], ["records", "list"]])
async def test_a_command_without_arguments_takes_the_configuration_as_one(folder: Path, words: list[str]) -> None:
    (folder / "elsewhere.py").write_text(
        "from lq_core import QueueConfig\nfrom lq_core.queue.sqlite import SQLiteConfig\n"
        "config = QueueConfig(queue_backend=SQLiteConfig(path='elsewhere.db'))\n"
    )

    answer = await lq(folder, *words, "elsewhere:config")

    assert "elsewhere.db" in answer.out + answer.err
    assert not (folder / "lq.db").exists()
