"""Unique work on every queue backend: who asks for a key that is held, and what comes of it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Unpack
from uuid import uuid4

import pytest

import shop
from lq_core import (
    DuplicateKeyError,
    EnqueueOutcome,
    KeyScope,
    OnConflict,
    QueueConfig,
    QueueService,
    RecordFilter,
    Task,
    TaskStatus,
    Worker,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.tasks.options import OptionArguments
from lq_postgres import PostgresConfig
from programs import until
from servers import PostgresServer

CROWD = """
import asyncio, sys

from lq_core import QueueConfig, QueueService
from test_unique import adding, store_at

async def main():
    async with QueueService(QueueConfig(queue_backend=store_at(sys.argv[1]))) as service:
        print("ready", flush=True)
        sys.stdin.readline()
        keyed = adding(on_conflict=sys.argv[2])
        sent = await asyncio.gather(*[service.enqueue(keyed, number, 0) for number in range(100)])
        print(sum(result.created for result in sent), len({result.id for result in sent}))

asyncio.run(main())
"""


def store_at(address: str) -> SQLiteConfig | PostgresConfig:
    return PostgresConfig(dsn=address) if address.startswith("postgresql:") else SQLiteConfig(path=address)


def adding(**options: Unpack[OptionArguments]) -> Task[[int, int], int]:
    """An addition of the key "one" that waits for a minute, unless it is said otherwise."""
    return shop.add.using(key="one", delay=60).using(**options)


@pytest.mark.parametrize("on_conflict", ["return_existing", "reject", "replace"])
async def test_a_call_with_the_key_of_a_record_that_was_asked_to_stop_is_not_lost_with_it(
    service: QueueService, worker: Worker, on_conflict: OnConflict
) -> None:
    gate = shop.new_gate()
    first = await service.enqueue(shop.end_when_stopped.using(key="one"))
    await gate.wait_begun()
    await service.queue_backend.request_cancel(first.id, (await first.refresh()).epoch)

    second = await service.enqueue(shop.add.using(key="one", on_conflict=on_conflict), 1, 1)
    third = await service.enqueue(shop.add.using(key="one", delay=60), 1, 1)

    assert (second.created, third.created or third.id == second.id) == (True, True)
    assert await second.wait(timeout=10) == 2
    assert (await service.wait(first.id, timeout=10)).status in {TaskStatus.CANCELLED, TaskStatus.COMPLETED}


async def test_of_a_hundred_calls_with_one_key_one_is_stored(service: QueueService) -> None:
    sent = await asyncio.gather(*[service.enqueue(adding(), number, 0) for number in range(100)])

    assert sorted(result.outcome for result in sent) == [EnqueueOutcome.CREATED, *[EnqueueOutcome.EXISTING] * 99]
    assert len(await service.find()) == 1


async def test_a_rejected_call_is_told_the_key_and_its_holder(service: QueueService) -> None:
    first = await service.enqueue(adding(on_conflict="reject"), 1, 1)

    with pytest.raises(DuplicateKeyError, match=f"Record {first.id} holds the key 'one'"):
        await service.enqueue(adding(on_conflict="reject"), 2, 2)


async def test_among_many_calls_a_rejected_one_disturbs_no_other(service: QueueService) -> None:
    rejecting = adding(on_conflict="reject")

    sent = await service.enqueue_many([rejecting.call(1, 1), rejecting.call(2, 2), shop.add.call(3, 3)])

    assert [result.outcome for result in sent] == ["created", "rejected", "created"]
    assert sent[1].id == sent[0].id
    assert len(await service.find()) == 2


async def test_a_replaced_record_has_the_new_arguments_and_the_old_time(service: QueueService) -> None:
    first = await service.enqueue(adding(), 1, 1)

    second = await service.enqueue(adding(on_conflict="replace", delay=5, priority=3, metadata={"a": "b"}), 2, 2)

    record = await first.refresh()
    assert (second.outcome, second.id, second.record) == (EnqueueOutcome.REPLACED, first.id, record)
    assert (record.arguments, record.priority, record.metadata) == ('{"first":2,"second":2}', 3, {"a": "b"})
    assert (record.epoch, (record.scheduled_at - record.created_at).total_seconds()) == (1, 60)


async def test_a_replaced_record_runs_once_with_the_new_arguments(service: QueueService) -> None:
    first = await service.enqueue(adding(delay=0), 1, 1)
    await service.enqueue(adding(delay=0, on_conflict=OnConflict.REPLACE), 20, 2)

    async with Worker(service):
        assert await first.wait(timeout=10) == 22
    assert first.record.attempt == 1


async def test_a_debounced_record_waits_anew(service: QueueService) -> None:
    first = await service.enqueue(adding(delay=5), 1, 1)

    second = await service.enqueue(adding(expires_in=90, on_conflict="debounce"), 2, 2)

    assert second.record.scheduled_at > first.record.scheduled_at
    assert second.record.expires_at is not None
    assert await first.refresh() == second.record


async def test_a_running_record_is_not_replaced(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.wait_at_gate.using(key="gate"))
    await gate.wait_begun()

    again = await service.enqueue(shop.wait_at_gate.using(key="gate", on_conflict="replace"))

    gate.opened.set()
    await sent.wait(timeout=10)
    assert (again.outcome, again.id) == (EnqueueOutcome.EXISTING, sent.id)


async def test_a_record_that_waits_for_its_retry_is_not_replaced(service: QueueService, worker: Worker) -> None:
    async def waits() -> bool:
        return (await sent.refresh()).attempt == 1 and sent.record.status is TaskStatus.PENDING

    sent = await service.enqueue(shop.stumble.using(key="one", retries=1, backoff=60), 9)
    await until(waits, what="the first attempt has failed")

    again = await service.enqueue(shop.stumble.using(key="one", on_conflict="debounce", expires_in=5), 8)

    assert again.outcome is EnqueueOutcome.EXISTING
    assert (again.record.arguments, again.record.expires_at) == (sent.record.arguments, None)


async def test_a_key_until_the_start_lets_one_wait_while_one_runs(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    keyed = shop.wait_at_gate.using(key="gate", key_scope="started")
    running = await service.enqueue(keyed)
    await gate.wait_begun()

    waiting = await service.enqueue(keyed.using(delay=60))
    third = await service.enqueue(keyed)

    gate.opened.set()
    await running.wait(timeout=10)
    assert (waiting.created, third.outcome, third.id) == (True, EnqueueOutcome.EXISTING, waiting.id)


async def test_a_key_of_a_window_is_held_after_the_end(service: QueueService, worker: Worker) -> None:
    keyed = adding(delay=0, key_window=3600)
    first = await service.enqueue(keyed, 1, 1)
    await first.wait(timeout=10)

    second = await service.enqueue(keyed, 2, 2)

    assert (second.outcome, second.id, second.status) == (EnqueueOutcome.EXISTING, first.id, TaskStatus.COMPLETED)


async def test_a_window_that_is_over_lets_the_next_one_in(service: QueueService) -> None:
    keyed = adding(key_window=0.000_001)
    first = await service.enqueue(keyed, 1, 1)

    second = await service.enqueue(keyed, 2, 2)

    assert second.created
    assert (await first.refresh()).key_released


async def test_a_key_may_be_made_of_arguments(service: QueueService) -> None:
    keyed = shop.add.using(key_from=("first",), delay=60)

    first, same, other = [await service.enqueue(keyed, number, second) for number, second in ((1, 1), (1, 2), (2, 1))]

    assert (same.id, other.created) == (first.id, True)
    assert first.record.key == 'shop.add:{"first":1}'


@pytest.mark.parametrize("scope", [KeyScope.STARTED, KeyScope.ENDED])
async def test_a_record_that_runs_at_once_asks_for_its_key_as_well(service: QueueService, scope: KeyScope) -> None:
    inline = adding(key_scope=scope, execution_backend="immediate")
    waiting = await service.enqueue(inline, 1, 1)

    refused = await service.enqueue(inline.using(delay=0), 2, 2)
    await service.cancel(waiting.id)
    run = await service.enqueue(inline.using(delay=0), 3, 3)

    assert (refused.outcome, refused.id) == (EnqueueOutcome.EXISTING, waiting.id)
    assert (run.status, run.record.result) == (TaskStatus.COMPLETED, "6")


@pytest.mark.parametrize("scope", [KeyScope.STARTED, KeyScope.ENDED])
async def test_what_is_replaced_before_it_runs_at_once_runs_as_the_last_one_wants(
    service: QueueService, scope: KeyScope
) -> None:
    inline = adding(key_scope=scope, execution_backend="immediate", delay=0, on_conflict="replace")

    first, second = await service.enqueue_many([inline.call(1, 1), inline.call(2, 2)])
    kept = inline.using(on_conflict="return_existing")
    last, same = await service.enqueue_many([kept.call(3, 3), kept.call(4, 4)])
    many = await asyncio.gather(*[service.enqueue(inline, number, 0) for number in range(9)])

    assert (second.outcome, second.id) == (EnqueueOutcome.REPLACED, first.id)
    assert [(one.status, one.record.result) for one in (first, second)] == [(TaskStatus.COMPLETED, "4")] * 2
    assert [(one.status, one.record.result) for one in (last, same)] == [(TaskStatus.COMPLETED, "6")] * 2
    assert {(await one.refresh()).status for one in many} == {TaskStatus.COMPLETED}
    assert await service.count(RecordFilter(statuses=(TaskStatus.PENDING,))) == 0


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.parametrize("policy, newest", [("return_existing", range(100)), ("debounce", range(99, 100))])
async def test_a_crowd_of_processes_makes_one_record(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, policy: str, newest: range
) -> None:
    address = str(tmp_path / "lq.db")
    if store == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        address = server.create_database(f"crowd_{uuid4().hex}")
    async with QueueService(QueueConfig(queue_backend=store_at(address))) as service:
        said = await asyncio.to_thread(crowd_of_three, address, policy)

        (record,) = await service.find(RecordFilter(key="one"))

    assert sorted(said) == ["0 1", "0 1", "1 1"]
    assert record.arguments in [f'{{"first":{last},"second":0}}' for last in newest]


def crowd_of_three(address: str, policy: str) -> list[str]:
    folders = [Path(__file__).parent, Path(__file__).parents[1] / "support"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    crowd = [
        subprocess.Popen(
            [sys.executable, "-c", CROWD, address, policy],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(3)
    ]
    for process in crowd:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in crowd:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=30)[0].strip() for process in crowd]
