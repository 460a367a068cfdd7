"""``lq enqueue`` stores a call that is checked as in Python."""

import sys
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from lq_core.records.record import QueuedTaskRecord
from programs import Answer, run
from sqlite_file import SQLiteFile

TASKS = """
from datetime import date
from uuid import UUID

from lq_core import task
from shop import queue


@task(name="post.send", queue="post")
async def send(to: str, copies: int = 1, *, on: date | None = None, tags: list[str] = [], language: str = "en"): ...


@task(name="post.track")
async def track(parcel: UUID): ...


@task(name="post.stop")
async def stop(): ...
"""


@pytest.fixture
def post(folder: Path) -> Path:
    (folder / "post.py").write_text(TASKS)
    return folder


async def enqueue(folder: Path, *words: str) -> Answer:
    return await run(sys.executable, "-m", "lq_core", "enqueue", "post:queue", *words, folder=folder)


async def stored(folder: Path, *words: str) -> QueuedTaskRecord:
    answer = await enqueue(folder, *words)
    assert answer.code == 0, answer.err
    return await SQLiteFile(folder / "lq.db").read(UUID(answer.out.split()[0]))


@pytest.mark.parametrize(
    "words, arguments",
    [
        (["post.send", "Ada"], {"to": "Ada"}),
        (["post.send", "Ada", "3"], {"to": "Ada", "copies": 3}),
        (["post.send", '"3"', "3"], {"to": "3", "copies": 3}),
        (["post.send", "Ada", "language=de", "on=2026-05-01"], {"to": "Ada", "language": "de", "on": "2026-05-01"}),
        (["post.send", "to=Ada", 'tags=["a","b"]'], {"to": "Ada", "tags": ["a", "b"]}),
        (["post.send", "a=b"], {"to": "a=b"}),
        (["post.send", "--", "-x"], {"to": "-x"}),
        (["post.track", "01a208d6-f3cf-7975-a1ad-42770b79d626"], {"parcel": "01a208d6-f3cf-7975-a1ad-42770b79d626"}),
        (["post.stop"], {}),
    ],
)
async def test_arguments_are_json_or_text_and_go_by_position_or_by_name(
    post: Path, words: list[str], arguments: dict[str, object]
) -> None:
    assert msgspec.json.decode((await stored(post, *words)).arguments) == arguments


async def test_options_are_those_of_using(post: Path) -> None:
    first = await stored(post, "post.stop")
    record = await stored(
        post,
        "post.send",
        "Ada",
        *("-o", "queue=fast", "-o", "priority=5", "--option", "key=welcome:5"),
        *("-o", "retries=3", "-o", 'metadata={"by":"hand"}', "-o", f"after={str(first.id)[:20]}", "-o", "timeout=1.5"),
    )  # fmt: skip -- one option in a place

    assert (record.queue, record.priority, record.key, record.retries) == ("fast", 5, "welcome:5", 3)
    assert (record.metadata, record.timeout, record.after and record.after.ids) == ({"by": "hand"}, 1.5, (first.id,))


async def test_a_record_that_holds_the_key_is_named(post: Path) -> None:
    record = await stored(post, "post.stop", "-o", "key=once")

    again = await enqueue(post, "post.stop", "-o", "key=once")
    rejected = await enqueue(post, "post.stop", "-o", "key=once", "-o", "on_conflict=reject")

    assert again == (0, f"{record.id}  existing: this record holds the key\n", "")
    advice = "on_conflict is 'reject'; with 'return_existing', the call returns that record."
    assert (rejected.code, rejected.err) == (1, f"Error: Record {record.id} holds the key 'once', and {advice}\n")


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["post.sned", "Ada"], "No task is registered as 'post.sned'. Did you mean 'post.send'?"),
        (["post.send"], "cannot be called like this: missing a required argument: 'to'"),
        (["post.send", "Ada", "many"], "Expected `int`, got `str` - at `$.copies`"),
        (["post.send", "3"], "Text that looks like JSON needs quotes: '\"3\"'."),
        (["post.send", "Ada", "-o", "dealy=3"], "There is no task option 'dealy'. Did you mean 'delay'?"),
        (["post.send", "Ada", "-o", "retries=many"], "retries is 'many'; it must be a whole number"),
        (["post.send", "Ada", "-o", "after=f00"], "There is no record whose id begins with f00."),
    ],
)
async def test_a_wrong_call_is_refused_as_in_python(post: Path, words: list[str], complaint: str) -> None:
    answer = await enqueue(post, *words)

    assert (answer.code, answer.out, answer.err.count("\n")) == (1, "", 1)
    assert complaint in answer.err


@pytest.mark.parametrize(
    "option, complaint",
    [("queue", "'queue' is not of the form NAME=VALUE"), ("after=nothing", "'nothing' is not the id of a record")],
)
async def test_a_malformed_option_is_wrong_usage(post: Path, option: str, complaint: str) -> None:
    answer = await enqueue(post, "post.stop", "-o", option)

    assert (answer.code, complaint in answer.err) == (2, True)


async def test_the_stored_record_is_printed_as_json(post: Path) -> None:
    answer = await enqueue(post, "post.send", "Ada", "--json")

    assert msgspec.json.decode(answer.out)["arguments"] == {"to": "Ada"}
