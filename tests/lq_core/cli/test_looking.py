"""The commands that read a queue, pause it and limit it, and the errors of a wrong configuration."""

import getpass
import socket
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from lq_core import QueueConfig, QueueService
from lq_core.cli import main
from lq_core.queue.sqlite import SQLiteConfig
from programs import Answer, run
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


async def test_the_records_are_counted_by_queue_and_status(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    await file.put("shop.send", queue="mail")
    await file.put("shop.wait")

    counted = await lq(folder, "stats")
    as_json = await lq(folder, "stats", "--json")

    assert [line.split() for line in counted.out.splitlines()[:3]] == [
        ["queue", "pending", "all"],
        ["default", "1", "1"],
        ["mail", "1", "1"],
    ]
    assert "Workers wanted to start ready records within 60 s, with 20 slots each: 1." in counted.out
    found = msgspec.json.decode(as_json.out)
    assert found["counts"] == {"default": {"pending": 1}, "mail": {"pending": 1}}
    assert found["due"]["mail"]["number"] == 1
    assert (found["workers_wanted"], found["demand"]["due"]) == (1, 2)


async def test_the_tasks_are_listed_with_their_signatures(folder: Path) -> None:
    answer = await lq(folder, "tasks", "shop:make")

    assert "shop.send  (number: int) -> str  mail" in answer.out


async def test_a_queue_is_paused_and_resumed(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    assert (await lq(folder, "queues", "pause", "mail")).out == "mail is paused.\n"
    assert (await lq(folder, "queues", "list")).out.split()[5:] == ["mail", "paused", "1", "0", "-"]
    assert (await lq(folder, "queues", "resume", "mail")).out == "mail is open.\n"
    assert (await lq(folder, "queues", "list")).out.split()[5:] == ["mail", "open", "1", "0", "-"]


async def test_who_has_changed_something_is_kept(folder: Path) -> None:
    sent = await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")
    await lq(folder, "queues", "pause", "mail")
    await lq(folder, "queues", "limit", "mail", "--concurrency", "5")
    await lq(folder, "records", "signal", str(sent.id), "decision")
    await lq(folder, "records", "cancel", str(sent.id))

    async with QueueService(QueueConfig(queue_backend=SQLiteConfig(path=folder / "lq.db"))) as service:
        kept = await service.actions()

    assert [(one.action, one.subject) for one in kept] == [
        ("cancelled record", str(sent.id)),
        ("signal record", str(sent.id)),
        ("limit queue", "mail"),
        ("pause queue", "mail"),
    ]
    assert {one.actor for one in kept} == {f"{getpass.getuser()}@{socket.gethostname()}"}


async def test_a_queue_is_limited_and_shown_with_its_limits(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    limited = await lq(folder, "queues", "limit", "mail", "--concurrency", "5", "--rate", "10", "--per", "60")
    shown = await lq(folder, "queues", "list")
    lifted = await lq(folder, "queues", "limit", "mail")

    assert limited.out == "mail is limited: 5 at once, 10 per 60 s.\n"
    assert "5 at once, 10 per 60 s" in shown.out
    assert lifted.out == "mail has no limits.\n"


async def test_a_limit_of_zero_is_refused(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    answer = await lq(folder, "queues", "limit", "mail", "--concurrency", "0")

    assert (answer.code, answer.err.count("\n"), "concurrency is 0" in answer.err) == (1, 1, True)


async def test_a_drain_stops_waiting_at_its_timeout(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    answer = await lq(folder, "queues", "drain", "mail", "--timeout", "0")
    empty = await lq(folder, "queues", "drain", "film")
    shown = await lq(folder, "queues", "list")

    assert (answer.code, answer.err) == (1, "Error: 1 left in mail, which continues to drain.\n")
    assert empty.out == "film is drained and paused.\n"
    assert empty.err.startswith("Waiting for film. Ctrl-C stops only the waiting")
    assert shown.out.split()[5:] == ["film", "paused", "0", "0", "-", "mail", "draining", "1", "0", "-"]


async def test_a_change_of_an_unknown_queue_prints_a_warning(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")
    warning = "Warning: mial has had no records so far. Is the name right?\n"

    paused = await lq(folder, "queues", "pause", "mial")
    limited = await lq(folder, "queues", "limit", "mial", "--concurrency", "5")
    drained = await lq(folder, "queues", "drain", "mial", "--timeout", "0")

    assert paused == (0, "mial is paused.\n", warning)
    assert limited == (0, "mial is limited: 5 at once.\n", warning)
    assert drained == (0, "mial is drained and paused.\n", warning)


async def test_a_missing_worker_is_reported(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    assert "No worker is registered" in (await lq(folder, "workers")).err


async def test_a_command_that_reads_creates_no_file(folder: Path) -> None:
    answer = await lq(folder, "stats")

    assert (answer.code, "There is no queue at" in answer.err, "(module:config)" in answer.err) == (1, True, True)
    assert not (folder / "lq.db").exists()


async def test_a_file_that_is_not_a_database_is_an_error(folder: Path) -> None:
    (folder / "lq.db").write_text("This is a letter, and not a database at all." * 100)

    answer = await lq(folder, "stats")

    assert (answer.code, answer.err.count("\n"), "it is not an SQLite database" in answer.err) == (1, 1, True)


async def test_records_in_memory_cannot_be_seen_from_outside(folder: Path) -> None:
    (folder / "forgetful.py").write_text("import lq_core\nqueue = lq_core.QueueConfig(queue_backend='memory')\n")

    answer = await lq(folder, "stats", "--config", "forgetful:queue")

    assert (answer.code, "in the memory of another process" in answer.err) == (1, True)


async def test_the_schema_is_migrated_by_command_when_auto_migrate_is_off(folder: Path) -> None:
    (folder / "careful.py").write_text(
        "from lq_core import QueueConfig\n"
        "from lq_core.queue.sqlite import SQLiteConfig\n"
        "queue = QueueConfig(queue_backend=SQLiteConfig(path='careful.db', auto_migrate=False))\n"
    )
    (folder / "careful.db").touch()

    before = await lq(folder, "stats", "-c", "careful:queue")
    examined = await lq(folder, "doctor", "-c", "careful:queue")
    migrated = await lq(folder, "migrate", "-c", "careful:queue")
    after = await run(*LQ, "stats", folder=folder, LQ_CONFIG="careful:queue")

    assert before.code == examined.code == 1
    assert "careful.db lacks 0001_records, 0002_keys, " in before.err
    assert before.err.endswith(". Run: lq migrate --config careful:queue\n")
    assert "Run: lq migrate --config careful:queue\n" in examined.out
    assert (migrated.code, "is up to date" in migrated.out) == (0, True)
    assert (after.code, "There are no records in" in after.err) == (0, True)


@pytest.mark.parametrize(
    "words", [("migrate",), ("stats",), ("doctor",), ("backup", "--force", "copy.db"), ("tasks",)], ids="-".join
)
async def test_an_async_function_may_make_the_configuration(folder: Path, words: tuple[str, ...]) -> None:
    _ = await lq(folder, "migrate", "shop:queue")

    made = await lq(folder, *words[:1], "shop:make_later", *words[1:])
    opened = await lq(folder, *words[:1], "shop:opened", *words[1:])

    assert (made.code, opened.code) == (0, 0), made.err + opened.err
    assert opened.err.splitlines()[0] == "opened"
    assert opened.err.splitlines()[-1] == "closed in the same loop: True"


@pytest.mark.parametrize(
    "target, complaint",
    [
        ("shpo:queue", "The configuration is 'shpo:queue', but there is no module 'shpo'. Did you mean 'shop'?"),
        ("nowhere.at.all:queue", "there is no module 'nowhere'. lq looked in"),
        ("shop:quee", "but the module shop has no 'quee'. Did you mean 'queue'?"),
        ("shop:number", "shop:number is of type int; it must be a QueueConfig"),
        ("shop:send", "shop:send is of type AsyncTask; it must be a QueueConfig"),
        ("shop", "write it as module:attribute, such as shop:config"),
        ("./shop.py:queue", "'./shop.py:queue', a path; name the module as an import does: shop:queue"),
        ("src/shop/tasks.py:queue", "as an import does: src.shop.tasks:queue"),
    ],
)
async def test_a_wrong_configuration_is_reported_in_one_line(folder: Path, target: str, complaint: str) -> None:
    answer = await lq(folder, "tasks", target)

    assert (answer.code, answer.err.count("\n"), complaint in answer.err) == (1, 1, True), answer.err


@pytest.mark.parametrize(
    "code, complaint",
    [
        ("import not_there", "broken.py, line 2: ModuleNotFoundError: No module named 'not_there'."),
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 2)."),
        ("import json; json.loads('')", "broken.py, line 2: JSONDecodeError: Expecting value"),
        ("import lq_core; lq_core.QueueConfig(concurrency=0)", "broken.py, line 2: ConfigurationError: concurrency is"),
        ("def queue(): raise OSError('no key')", "broken.py, line 2: OSError: no key."),
    ],
)
async def test_an_error_in_the_application_is_reported_in_one_line_with_its_place(
    folder: Path, code: str, complaint: str
) -> None:
    (folder / "broken.py").write_text(f"from shop import queue\n{code}\n")

    answer = await lq(folder, "tasks", "broken:queue")

    assert (answer.code, answer.err.count("\n"), complaint in answer.err) == (1, 1, True), answer.err
    assert 'See the whole traceback with: python -c "import broken' in answer.err


async def test_a_task_module_that_raises_is_reported_with_its_place(folder: Path) -> None:
    (folder / "broken.py").write_text("import not_there\n")

    answer = await lq(folder, "worker", "shop:queue", "-m", "broken")

    assert (answer.code, "Importing 'broken' failed in" in answer.err) == (1, True), answer.err
    assert "broken.py, line 1: ModuleNotFoundError: No module named 'not_there'." in answer.err


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["wrk"], "No such command 'wrk'"),
        (["worker", "--concurrency", "0"], "x>=1"),
        (["worker", "--processes", "2", "--http", "127.0.0.1:9101"], "--http serves one process"),
        (["records", "list", "--status", "done"], "'done' is not one of"),
        (["records", "cancel"], "Missing argument 'ID...'"),
        (["tasks", "shop:queue", "--config", "shop:make"], "given twice: shop:make and shop:queue"),
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, words)

    assert (result.exit_code, complaint in " ".join(result.output.split())) == (2, True), result.output


@pytest.mark.parametrize(
    "words",
    [
        *(["doctor"], ["queues", "list"], ["queues", "pause"], ["records", "list"], ["schedules", "list"]),
        *(["stats"], ["tasks"], ["worker"], ["workers"]),
    ],
)
def test_help_ends_with_examples_that_can_be_typed(words: list[str]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"], prog_name="lq")

    assert result.output.partition("Examples:\n")[2].startswith(f"  lq {' '.join(words)}")


@pytest.mark.parametrize("name", ["worker", "tasks"])
def test_help_shows_where_the_configuration_goes(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"], prog_name="lq")

    assert f"  lq {name} module:config\n" in result.output
