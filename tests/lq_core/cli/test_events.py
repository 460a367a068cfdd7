"""``lq events`` prints what happened to records, and follows them."""

import signal
import sys
from pathlib import Path

import msgspec

from programs import Answer, run, running
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")
HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
IN_THE_FOREGROUND = (sys.executable, "-c", HEED)
"""A shell lets the programs that it starts in the background ignore Ctrl-C, and these tests with them."""


async def lq(folder: Path, *words: str) -> Answer:
    return await run(*LQ, *words, folder=folder)


async def test_the_events_of_records_are_printed_oldest_first(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    mail, other = await file.put("shop.send", queue="mail"), await file.put("shop.wait")
    await lq(folder, "records", "cancel", str(mail.id))

    everything = await lq(folder, "events")
    of_one = await lq(folder, "events", str(mail.id), "--json")
    of_a_queue = await lq(folder, "events", "--queue", "mail")

    assert [line.split()[2:5] for line in everything.out.splitlines()] == [
        [str(mail.id), "shop.send", "enqueued"],
        [str(other.id), "shop.wait", "enqueued"],
        [str(mail.id), "shop.send", "cancelled"],
    ]
    assert [msgspec.json.decode(line)["event"] for line in of_one.out.splitlines()] == ["enqueued", "cancelled"]
    assert len(of_a_queue.out.splitlines()) == 2


async def test_new_events_are_followed_until_ctrl_c(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    await file.put("shop.wait")

    async with running(*IN_THE_FOREGROUND, *LQ, "events", "--follow", "--queue", "mail", folder=folder) as following:
        await following.line_with("Following")
        await file.put("shop.wait")
        record = await file.put("shop.send", queue="mail")
        first = await following.line_with("enqueued")
        await lq(folder, "records", "cancel", str(record.id))
        await following.line_with("cancelled")
        code = await following.end(signal.SIGINT)

    assert str(record.id) in first
    assert (code, following.printed[-1]) == (130, "Interrupted.\n")


async def test_named_records_are_followed_to_their_end(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    record = await file.put("shop.send")

    async with running(*LQ, "events", "-f", str(record.id)[:30], folder=folder) as following:
        await following.line_with("enqueued")
        await lq(folder, "records", "cancel", str(record.id))
        assert await following.end() == 0

    assert " cancelled" in following.printed[-1]


async def test_following_ends_when_nobody_reads(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")

    answer = await run(
        "bash", "-c", 'set -o pipefail; "$@" | true', "-", *LQ, "events", "-f", str(record.id), folder=folder
    )

    assert answer == (0, "", "Following. Ctrl-C stops it.\n")


async def test_a_status_is_not_followed(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    answer = await lq(folder, "events", "--follow", "--status", "failed")

    assert (answer.code, "Leave out --status." in answer.err) == (2, True)
