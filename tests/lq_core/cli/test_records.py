"""``lq records`` lists, shows, cancels, retries, deletes and signals records."""

import sys
from pathlib import Path
from uuid import UUID

import msgspec

from lq_core.records.identity import new_id
from programs import Answer, run
from sqlite_file import SQLiteFile


class Listed(msgspec.Struct):
    """The fields of a listed record that the tests read."""

    id: UUID


LQ = (sys.executable, "-m", "lq_core")


async def records(folder: Path, *words: str) -> Answer:
    return await run(*LQ, "records", *words, folder=folder)


async def listed(folder: Path, *words: str) -> list[UUID]:
    answer = await records(folder, "list", "--json", *words)
    return [each.id for each in msgspec.json.decode(answer.out, type=list[Listed])]


async def test_records_are_listed_newest_first_page_by_page(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    first, second, third = [(await file.put("shop.send")).id for _ in range(3)]

    page = await records(folder, "list", "--limit", "2")

    assert [line.split()[:3] for line in page.out.splitlines()[1:]] == [
        [str(third), "pending", "shop.send"],
        [str(second), "pending", "shop.send"],
    ]
    assert f"--before {second}" in page.err
    assert await listed(folder, "--before", str(second)) == [first]


async def test_a_signal_is_sent_once(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    record = str((await file.put("shop.approve")).id)

    stored = await records(folder, "signal", record[:-4], "decision", "--value", '{"by":"Ada"}')
    again = await records(folder, "signal", record, "decision")
    refused = await records(folder, "signal", record, "other", "--value", "yes")

    assert (stored.code, stored.out) == (0, f"{record}  signal decision stored\n")
    assert (again.code, "takes no signal 'decision'" in again.err) == (1, True)
    assert (refused.code, "Text needs quotes" in refused.err) == (2, True)
    assert "signal in attempt 0: decision" in (await records(folder, "show", record)).out


async def test_records_are_searched_by_what_is_in_them(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    first = (await file.put("shop.send", arguments='{"number":17}', metadata={"tenant": "acme"})).id
    await file.put("shop.send", arguments='{"number":170}')

    assert await listed(folder, "--value", "arguments.number=17") == [first]
    assert await listed(folder, "--text", "acme", "--value", "metadata.tenant=acme") == [first]
    assert await listed(folder, "--error-type", "ValueError") == await listed(folder, "--worker", "ada") == []

    refused = await records(folder, "list", "--value", "tenant=acme")
    assert refused.code == 2
    assert "arguments.NAME or metadata.NAME" in refused.err
    assert "write NAME=VALUE" in (await records(folder, "list", "--value", "tenant")).err


async def test_records_are_filtered(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    mail = (await file.put("shop.send", queue="mail")).id
    other = (await file.put("shop.wait")).id

    assert await listed(folder, "--queue", "mail,reports") == [mail]
    assert await listed(folder, "--task", "shop.wait") == [other]
    assert await listed(folder, "--status", "pending", "--status", "failed") == [other, mail]
    assert await listed(folder, "--backend", "local") == []


async def test_a_filter_without_a_match_is_not_an_error(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    assert await records(folder, "list", "--task", "shop.sent") == (0, "", "No record matches.\n")


async def test_a_filter_by_an_empty_queue_lists_the_queues_with_records(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    hint = "No record matches: there is none in mial. Queues with records: mail.\n"

    assert await records(folder, "list", "--queue", "mial") == (0, "", hint)
    assert await records(folder, "cancel", "--queue", "mial") == (0, "", hint)
    assert (await records(folder, "list", "--queue", "mail", "--task", "shop.sent")).err == "No record matches.\n"


async def test_a_record_is_shown_with_its_arguments(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send", arguments='{"number":7}')

    shown = await records(folder, "show", str(record.id))
    as_json = await records(folder, "show", str(record.id), "--json")

    assert shown.out.splitlines()[:4] == [
        f"id             {record.id}",
        "task           shop.send",
        'arguments      {"number":7}',
        "status         pending",
    ]
    assert msgspec.json.decode(as_json.out)["arguments"] == {"number": 7}


async def test_a_record_that_ran_elsewhere_is_shown_with_the_address_of_its_log(folder: Path) -> None:
    file, log = SQLiteFile(folder / "lq.db"), "https://console.cloud.google.com/run/jobs/executions/details/x/reports-1"
    elsewhere, here = await file.put("shop.send", log_url=log), await file.put("shop.send")

    assert f"log            {log}" in (await records(folder, "show", str(elsewhere.id))).out.splitlines()
    assert "https://" not in (await records(folder, "show", str(here.id))).out


async def test_a_record_is_cancelled_and_retried(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")

    assert await records(folder, "cancel", str(record.id)) == (0, f"{record.id}  cancelled\n", "")
    assert await records(folder, "retry", str(record.id)) == (0, f"{record.id}  pending\n", "")


async def test_one_record_that_cannot_be_cancelled_does_not_stop_the_others(folder: Path) -> None:
    record, unknown = await SQLiteFile(folder / "lq.db").put("shop.send"), new_id()

    answer = await records(folder, "cancel", str(unknown), str(record.id))

    assert (answer.code, answer.out) == (1, f"{record.id}  cancelled\n")
    assert answer.err.startswith(f"Error: There is no record {unknown}")


async def test_an_ended_record_is_not_cancelled_again(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")
    await records(folder, "cancel", str(record.id))

    again = await records(folder, "cancel", str(record.id))

    assert (again.code, "has ended already: it is cancelled" in again.err) == (1, True)


async def test_an_unknown_id_is_an_error_and_a_malformed_id_is_wrong_usage(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.send")

    unknown = await records(folder, "show", str(new_id()))
    malformed = await records(folder, "show", "17x")

    assert (unknown.code, unknown.err.count("\n"), "There is no record" in unknown.err) == (1, 1, True)
    assert (malformed.code, "'17x' is not the id of a record" in malformed.err) == (2, True)


async def test_the_beginning_of_an_id_is_enough_if_no_other_record_has_it(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    first, second = await file.put("shop.send"), await file.put("shop.wait")
    beginning = str(first.id)[:20]

    shown = await records(folder, "show", beginning.upper())
    cancelled = await records(folder, "cancel", beginning)
    ambiguous = await records(folder, "show", "0")
    unknown = await records(folder, "retry", "f")

    assert f"id             {first.id}\n" in shown.out
    assert cancelled.out == f"{first.id}  cancelled\n"
    assert ambiguous.code == 1
    assert ambiguous.err.splitlines() == [
        "Error: Several ids begin with 0; type more of the one that you mean:",
        f"  {first.id}  cancelled  shop.send",
        f"  {second.id}  pending  shop.wait",
    ]
    assert (unknown.code, unknown.err) == (1, "Error: There is no record whose id begins with f.\n")


async def test_ended_records_are_deleted_and_others_are_kept(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    waiting, ended = await file.put("shop.send"), await file.put("shop.send")
    await records(folder, "cancel", str(ended.id))

    answer = await records(folder, "delete", str(waiting.id), str(ended.id))

    assert (answer.code, answer.out) == (1, f"{ended.id}  deleted\n")
    assert answer.err == f"Error: Record {waiting.id} is pending; only ended records can be deleted. Cancel it first.\n"
    assert await listed(folder) == [waiting.id]


async def test_all_matching_ended_records_are_deleted(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    await file.put("shop.send", queue="mail")
    await records(folder, "cancel", "--queue", "mail", "--yes")
    kept = [(await file.put("shop.send", queue=queue)).id for queue in ("mail", "other")]

    counted = await records(folder, "delete", "--queue", "mail")
    tried = await records(folder, "delete", "--queue", "mail", "--dry-run")
    deleted = await records(folder, "delete", "--queue", "mail", "--yes")

    assert (counted.code, counted.out) == (1, "1 record would be deleted.\n")
    assert tried == (0, "1 record would be deleted.\n", "")
    assert deleted == (0, "1 of 1 record was deleted.\n", "")
    assert sorted(await listed(folder)) == sorted(kept)


async def test_a_dry_run_by_ids_says_what_would_happen(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")

    cancel = await records(folder, "cancel", "--dry-run", str(record.id))
    retry = await records(folder, "retry", "--dry-run", str(record.id))

    assert cancel == (0, f"{record.id}  pending; would be cancelled\n", "")
    assert retry == (0, f"{record.id}  pending; would not be retried\n", "")


async def test_matching_records_are_counted_before_any_is_changed(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send", queue="mail")

    answer = await records(folder, "cancel", "--queue", "mail")

    assert (answer.code, answer.out) == (1, "1 record would be cancelled.\n")
    assert answer.err == "Nothing was changed. To go ahead, repeat the command with --yes.\n"
    assert await listed(folder, "--status", "pending") == [record.id]


async def test_all_matching_records_are_cancelled_and_retried(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    mail = [(await file.put("shop.send", queue="mail")).id for _ in range(2)]
    other = (await file.put("shop.send")).id

    cancelled = await records(folder, "cancel", "--queue", "mail", "--yes")
    after = await listed(folder, "--status", "cancelled")
    retried = await records(folder, "retry", "--task", "shop.send", "--yes")
    nothing = await records(folder, "retry", "--task", "shop.send", "--yes")

    assert cancelled == (0, "2 of 2 records were cancelled.\n", "")
    assert sorted(after) == sorted(mail)
    assert retried == (0, "2 of 2 records were retried.\n", "")
    assert (nothing.code, nothing.err) == (0, "No record matches.\n")
    assert sorted(await listed(folder, "--status", "pending")) == sorted([*mail, other])


async def test_records_are_selected_by_ids_or_by_filters(folder: Path) -> None:
    record = await SQLiteFile(folder / "lq.db").put("shop.send")

    both = await records(folder, "cancel", str(record.id), "--queue", "mail")
    neither = await records(folder, "retry", "--yes")

    assert (both.code, "not by both" in both.err) == (2, True)
    assert (neither.code, "or a filter such as --queue" in neither.err) == (2, True)
