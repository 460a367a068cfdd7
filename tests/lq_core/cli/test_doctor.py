"""``lq doctor`` reports warnings with advice; ``lq migrate`` shows, prints and applies the schema."""

import sqlite3
import sys
from pathlib import Path

import msgspec
import pytest

from lq_core import Finding
from lq_core.queue.sqlite import health
from programs import Answer, run
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


def warnings(answer: Answer) -> dict[str, str | None]:
    findings = msgspec.json.decode(answer.out, type=list[Finding])
    return {finding.check: finding.advice for finding in findings if finding.level == "warning"}


async def test_a_queue_without_a_warning_ends_with_0(folder: Path) -> None:
    migrated = await lq(folder, "migrate")
    looked = await lq(folder, "doctor")

    assert (migrated.code, looked.code) == (0, 0)
    assert "journal mode              ok     wal" in looked.out
    assert looked.out.endswith("lq.db is ok.\n")


async def test_a_warning_comes_with_advice_and_ends_with_1(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    looked = await lq(folder, "doctor")
    as_json = await lq(folder, "doctor", "--json")

    assert (looked.code, as_json.code) == (1, 1)
    assert "workers: Start a worker: lq worker module:config\n" in looked.out
    assert warnings(as_json) == {"workers": "Start a worker: lq worker module:config"}


async def test_the_doctor_does_not_migrate_the_schema(folder: Path) -> None:
    (folder / "lq.db").touch()

    assert warnings(await lq(folder, "doctor", "--json")) == {"schema": "Run: lq migrate"}
    assert (folder / "lq.db").stat().st_size == 0


async def test_the_advice_names_the_checked_file(folder: Path) -> None:
    (folder / "other one.db").touch()
    looked = await run(*LQ, "doctor", "--json", folder=folder, LQ_SQLITE_PATH="other one.db")

    assert warnings(looked) == {"schema": "Run: LQ_SQLITE_PATH='other one.db' lq migrate"}


async def test_a_file_that_is_not_a_database_is_a_warning(folder: Path) -> None:
    (folder / "lq.db").write_text("This is a letter, and not a database at all." * 100)

    looked = await lq(folder, "doctor")

    assert looked.code == 1
    assert "it is not an SQLite database" in looked.out


BACKENDS = """
from lq_core import Finding, InProcessExecutionBackend, QueueConfig

class Printer(InProcessExecutionBackend):
    async def execute(self, service, record, *, worker_id=None):
        return record

    async def diagnose(self, service):
        return [Finding.of("paper", "empty", advice="Refill the tray."), Finding.of("ink", "full")]

class Jammed(Printer):
    async def diagnose(self, service):
        raise OSError("the tray is stuck")

printing = QueueConfig(execution_backends=("shop.Printer",))
jammed = QueueConfig(execution_backends=("shop.Jammed",))
missing = QueueConfig(execution_backends=("shop.Plotter",))
"""


async def test_an_execution_backend_adds_its_findings(folder: Path) -> None:
    (folder / "shop.py").write_text(BACKENDS)
    await lq(folder, "migrate")

    looked = await lq(folder, "doctor", "shop:printing")

    assert looked.code == 1
    assert "ink                       ok       full" in looked.out
    assert looked.out.endswith("paper: Refill the tray.\n")


@pytest.mark.parametrize("config, advice", [("jammed", "OSError: the tray is stuck"), ("missing", "shop.Plotter")])
async def test_an_execution_backend_that_cannot_be_checked_is_a_warning(folder: Path, config: str, advice: str) -> None:
    (folder / "shop.py").write_text(BACKENDS)
    await lq(folder, "migrate")

    found = warnings(await lq(folder, "doctor", f"shop:{config}", "--json"))

    assert list(found) == [f"execution backend shop.{'Jammed' if config == 'jammed' else 'Plotter'}"]
    assert advice in "".join(str(each) for each in found.values())


async def test_missing_migrations_are_shown_and_nothing_is_changed(folder: Path) -> None:
    before = await lq(folder, "migrate", "--show")
    untouched = (folder / "lq.db").exists()
    applied = await lq(folder, "migrate")
    after = await lq(folder, "migrate", "--show")

    assert before.out.startswith(f"0001_records is missing in sqlite:{folder}/lq.db.\n0002_keys is missing in")
    assert not untouched
    assert applied.out.startswith("0001_records was applied.\n")
    assert after.out.endswith("is up to date.\n")


async def test_the_schema_can_be_applied_with_other_tools(folder: Path) -> None:
    printed = await lq(folder, "migrate", "--sql")
    connection = sqlite3.connect(folder / "lq.db")
    connection.executescript(printed.out)
    connection.close()

    assert (await lq(folder, "migrate", "--sql")).out.startswith("-- The schema of")
    assert (await lq(folder, "doctor")).code == 0


@pytest.mark.parametrize("kind, warned", [("ext4", False), ("nfs4", True)])
def test_a_network_file_system_is_a_warning(tmp_path: Path, kind: str, warned: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / overlay rw 0 0\nserver:/share {tmp_path} {kind} rw 0 0\n")
    (tmp_path / "lq.db").touch()

    finding = {found.check: found for found in health.surroundings(tmp_path / "lq.db", mounts=mounts)}["file system"]

    assert (finding.found, finding.level == "warning") == (f"{kind} at {tmp_path}", warned)


@pytest.mark.parametrize("words", [["migrate", "--show"], ["doctor"], ["stats"], ["workers"], ["records", "list"]])
async def test_a_command_without_arguments_takes_the_configuration_as_one(folder: Path, words: list[str]) -> None:
    (folder / "elsewhere.py").write_text(
        "from lq_core import QueueConfig\nfrom lq_core.queue.sqlite import SQLiteConfig\n"
        "config = QueueConfig(queue_backend=SQLiteConfig(path='elsewhere.db'))\n"
    )

    answer = await lq(folder, *words, "elsewhere:config")

    assert "elsewhere.db" in answer.out + answer.err
    assert not (folder / "lq.db").exists()
