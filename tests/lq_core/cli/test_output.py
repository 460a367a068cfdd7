"""Commands print in any encoding, and do what they were asked to do even if nobody reads their output."""

import sys
from pathlib import Path

import msgspec
import pytest

from programs import PATIENCE, Answer, run
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")
EURO = '{"name":"50 \u20ac, gr\u00fc\u00dfe \U0001f600"}'


async def lq(folder: Path, *words: str, **environment: str) -> Answer:
    return await run(*LQ, *words, folder=folder, within=PATIENCE, **environment)


async def with_closed_output(folder: Path, *words: str) -> Answer:
    """Run a command whose output nobody reads."""
    return await run("bash", "-c", 'set -o pipefail; "$@" | true', "-", *LQ, *words, folder=folder)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "ascii:strict"])
async def test_text_of_tasks_is_printed_in_any_encoding(folder: Path, encoding: str) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send", arguments=EURO, queue="post \u20ac")

    listed = await lq(folder, "records", "list", PYTHONIOENCODING=encoding, FORCE_COLOR="1")
    shown = await lq(folder, "records", "show", str(record.id), "--json", PYTHONIOENCODING=encoding)
    counted = await lq(folder, "stats", PYTHONIOENCODING=encoding, LC_ALL="C")

    assert [listed.code, shown.code, counted.code] == [0, 0, 0], listed.err + shown.err + counted.err
    assert msgspec.json.decode(shown.out)["arguments"] == msgspec.json.decode(EURO)


async def test_an_error_is_printed_in_ascii(folder: Path) -> None:
    answer = await lq(folder, "enqueue", "shop:queue", "gr\u00fc\u00dfe", PYTHONIOENCODING="ascii")

    assert (answer.code, "'gr\\xfc\\xdfe'" in answer.err) == (1, True)


async def test_a_reader_that_stops_reading_is_not_an_error(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    for _ in range(30):
        await file.put("shop.send")

    listed = await with_closed_output(folder, "records", "list", "--json")
    helped = await with_closed_output(folder, "--help")

    assert (listed, helped) == ((0, "", ""), (0, "", ""))


async def test_the_exit_code_is_that_of_the_command_if_nobody_reads(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    assert (await with_closed_output(folder, "doctor")).code == 1


async def test_a_command_does_all_of_its_work_if_nobody_reads(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    ids = [str((await file.put("shop.send")).id) for _ in range(3)]

    answer = await with_closed_output(folder, "records", "cancel", *ids)

    assert answer == (0, "", "")
    assert (await lq(folder, "stats")).out.split()[:3] == ["queue", "cancelled", "all"]


async def test_output_that_cannot_be_written_is_reported_in_one_line(folder: Path) -> None:
    # Under ./dev coverage, the process would also fail to write what it has measured.
    limited = 'ulimit -f 0; COVERAGE_PROCESS_CONFIG= "$@" > full'
    answer = await run("bash", "-c", limited, "-", *LQ, "--help", folder=folder)

    assert (answer.code, answer.err) == (1, "Error: The output cannot be written: File too large\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
async def test_a_closed_file_is_not_written_to(folder: Path, closed: str) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    answer = await run("bash", "-c", f'"$@" {closed}', "-", *LQ, "queues", "pause", "mail", folder=folder)

    assert (answer.code, "Traceback" in answer.err) == (0, False)
    assert "paused" in (await lq(folder, "queues", "list")).out
