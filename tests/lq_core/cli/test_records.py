"""``lq records``: what a person sees of records, and does to them."""

import sys
from pathlib import Path
from uuid import UUID

import msgspec

from lq_core.identity import new_id
from programs import Answer, run
from shelf import Shelf


class Listed(msgspec.Struct):
    """What is read of a listed record."""

    id: UUID


LQ = (sys.executable, "-m", "lq_core")


async def records(folder: Path, *words: str) -> Answer:
    return await run(*LQ, "records", *words, folder=folder)


async def listed(folder: Path, *words: str) -> list[UUID]:
    answer = await records(folder, "list", "--json", *words)
    return [each.id for each in msgspec.json.decode(answer.out, type=list[Listed])]


async def test_records_are_listed_newest_first_page_by_page(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    first, second, third = [(await shelf.put("shop.send")).id for _ in range(3)]

    page = await records(folder, "list", "--limit", "2")

    assert [line.split()[:3] for line in page.out.splitlines()[1:]] == [
        [str(third), "pending", "shop.send"],
        [str(second), "pending", "shop.send"],
    ]
    assert f"--before {second}" in page.err
    assert await listed(folder, "--before", str(second)) == [first]


async def test_records_are_filtered(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    mail = (await shelf.put("shop.send", queue="mail")).id
    other = (await shelf.put("shop.wait")).id

    assert await listed(folder, "--queue", "mail,reports") == [mail]
    assert await listed(folder, "--task", "shop.wait") == [other]
    assert await listed(folder, "--status", "pending", "--status", "failed") == [other, mail]
    assert await listed(folder, "--backend", "local") == []


async def test_no_match_is_no_error(folder: Path) -> None:
    await Shelf(folder / "lq.db").put("shop.send")

    assert await records(folder, "list", "--task", "shop.sent") == (0, "", "No record matches.\n")


async def test_a_queue_that_holds_nothing_is_named_with_those_that_do(folder: Path) -> None:
    await Shelf(folder / "lq.db").put("shop.send", queue="mail")

    hint = "No record matches: none is in mial. Queues with records: mail.\n"

    assert await records(folder, "list", "--queue", "mial") == (0, "", hint)
    assert await records(folder, "cancel", "--queue", "mial") == (0, "", hint)
    assert (await records(folder, "list", "--queue", "mail", "--task", "shop.sent")).err == "No record matches.\n"


async def test_a_record_is_shown_with_its_arguments(folder: Path) -> None:
    record = await Shelf(folder / "lq.db").put("shop.send", arguments='{"number":7}')

    shown = await records(folder, "show", str(record.id))
    as_json = await records(folder, "show", str(record.id), "--json")

    assert shown.out.splitlines()[:4] == [
        f"id             {record.id}",
        "task           shop.send",
        'arguments      {"number":7}',
        "status         pending",
    ]
    assert msgspec.json.decode(as_json.out)["arguments"] == {"number": 7}


async def test_a_record_is_cancelled_and_brought_back(folder: Path) -> None:
    record = await Shelf(folder / "lq.db").put("shop.send")

    assert await records(folder, "cancel", str(record.id)) == (0, f"{record.id}  cancelled\n", "")
    assert await records(folder, "retry", str(record.id)) == (0, f"{record.id}  pending\n", "")


async def test_one_record_that_refuses_does_not_keep_the_others(folder: Path) -> None:
    record, unknown = await Shelf(folder / "lq.db").put("shop.send"), new_id()

    answer = await records(folder, "cancel", str(unknown), str(record.id))

    assert (answer.code, answer.out) == (1, f"{record.id}  cancelled\n")
    assert answer.err.startswith(f"Error: There is no record {unknown}")


async def test_an_ended_record_is_not_cancelled_again(folder: Path) -> None:
    record = await Shelf(folder / "lq.db").put("shop.send")
    await records(folder, "cancel", str(record.id))

    again = await records(folder, "cancel", str(record.id))

    assert (again.code, "has ended already: it is cancelled" in again.err) == (1, True)


async def test_an_unknown_id_is_told_and_a_malformed_one_is_wrong_usage(folder: Path) -> None:
    await Shelf(folder / "lq.db").put("shop.send")

    unknown = await records(folder, "show", str(new_id()))
    malformed = await records(folder, "show", "17")

    assert (unknown.code, unknown.err.count("\n"), "There is no record" in unknown.err) == (1, 1, True)
    assert (malformed.code, "'17' is not a valid UUID" in malformed.err) == (2, True)


async def test_what_matches_is_counted_before_anything_is_done(folder: Path) -> None:
    record = await Shelf(folder / "lq.db").put("shop.send", queue="mail")

    answer = await records(folder, "cancel", "--queue", "mail")

    assert (answer.code, answer.out) == (1, "1 record would be cancelled.\n")
    assert answer.err == "Nothing was done: repeat the command with --yes.\n"
    assert await listed(folder, "--status", "pending") == [record.id]


async def test_all_that_matches_is_cancelled_and_brought_back(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    mail = [(await shelf.put("shop.send", queue="mail")).id for _ in range(2)]
    other = (await shelf.put("shop.send")).id

    cancelled = await records(folder, "cancel", "--queue", "mail", "--yes")
    after = await listed(folder, "--status", "cancelled")
    revived = await records(folder, "retry", "--task", "shop.send", "--yes")
    nothing = await records(folder, "retry", "--task", "shop.send", "--yes")

    assert cancelled == (0, "2 of 2 records were cancelled.\n", "")
    assert sorted(after) == sorted(mail)
    assert revived == (0, "2 of 2 records were brought back.\n", "")
    assert (nothing.code, nothing.err) == (0, "No record matches.\n")
    assert sorted(await listed(folder, "--status", "pending")) == sorted([*mail, other])


async def test_records_are_named_by_ids_or_by_filters(folder: Path) -> None:
    record = await Shelf(folder / "lq.db").put("shop.send")

    both = await records(folder, "cancel", str(record.id), "--queue", "mail")
    neither = await records(folder, "retry", "--yes")

    assert (both.code, "not by both" in both.err) == (2, True)
    assert (neither.code, "or a filter such as --queue" in neither.err) == (2, True)
