"""What becomes of a call, from the enqueue to the result, on every queue backend."""

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

import shop
from lq_core import (
    InvalidArgumentError,
    InvalidResultError,
    OwnershipLostError,
    PayloadTooLargeError,
    QueueConfig,
    QueueService,
    TaskFailedError,
    TaskResult,
    TaskStatus,
    UnknownBackendError,
    UnknownTaskError,
    WaitTimeoutError,
    Worker,
    find_task,
)


def events(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [vars(entry).get("event") for entry in caplog.records]


async def test_a_call_returns_its_result(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add, 1, second=2)

    assert await sent.wait(timeout=10) == 3
    assert (sent.created, sent.record.status, sent.record.attempt) == (True, TaskStatus.COMPLETED, 1)


async def test_a_plain_function_runs_in_a_thread(service: QueueService, worker: Worker) -> None:
    assert await (await service.enqueue(shop.multiply, 6, 7)).wait(timeout=10) == 42


async def test_arguments_arrive_as_their_annotations_say(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.describe, datetime.now(UTC), uuid4())

    assert await sent.wait(timeout=10) == ["datetime", "UUID"]


async def test_many_calls_are_enqueued_at_once(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue_many(shop.add.call(number, number) for number in range(250))

    assert [await one.wait(timeout=20) for one in sent] == [2 * number for number in range(250)]


async def test_a_call_by_name_is_checked_all_the_same(service: QueueService, worker: Worker) -> None:
    assert await (await service.enqueue_by_name("shop.add", 2, 3)).wait(timeout=10) == 5
    with pytest.raises(InvalidArgumentError):
        await service.enqueue_by_name("shop.add", "two", 3)
    with pytest.raises(UnknownTaskError, match=r"shop\.add"):
        await service.enqueue_by_name("shop.ad", 2, 3)


async def test_a_failing_task_is_retried_and_keeps_every_error(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.stumble, 2)

    assert await sent.wait(timeout=10) == 3
    told = [entry.failure.message for entry in sent.record.history if entry.failure]
    assert told == ["stumbled 1", "stumbled 2"]
    assert sent.record.history[0].failure is not None
    assert "raise ValueError" in sent.record.history[0].failure.traceback


async def test_a_task_that_keeps_failing_fails_with_its_error(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.stumble.using(retries=1), 9)

    with pytest.raises(TaskFailedError, match="ValueError: stumbled 2"):
        await sent.wait(timeout=10)
    assert (sent.record.attempt, sent.record.retry_count) == (2, 1)


async def test_non_retryable_fails_at_once(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.refuse)

    with pytest.raises(TaskFailedError, match="never"):
        await sent.wait(timeout=10)
    assert sent.record.attempt == 1


async def test_retry_later_spends_no_budget(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.come_back, 2)

    assert await sent.wait(timeout=10) == 3
    assert sent.record.retry_count == 0


@pytest.mark.parametrize("name", ["shop.linger", "shop.linger_in_thread"])
async def test_a_timeout_is_recorded_with_its_limit(service: QueueService, worker: Worker, name: str) -> None:
    sent = await service.enqueue_by_name(name)

    with pytest.raises(TaskFailedError, match=r"longer than its timeout of 0\.05 s"):
        await sent.wait(timeout=10)


@pytest.mark.parametrize(
    "name, message",
    [
        ("shop.leave", "SystemExit: 3"),
        ("shop.come_back_never", "RetryLater takes seconds"),
        ("shop.count_nonsense", "is not finite"),
        ("shop.panic", "PanicError: the extension broke"),
        ("shop.interrupt_in_thread", r"The function raised KeyboardInterrupt"),
        ("shop.complain_of_file", r"ValueError: there is no caf\\udce9\.txt"),
        ("shop.give_up_itself", "cancelled itself"),
        ("shop.cancel_itself", "cancelled itself"),
        ("shop.cancel_itself_later", "cancelled itself"),
        ("shop.return_nonsense", "cannot be stored as JSON"),
        ("shop.return_nan", "JSON has no number nan"),
    ],
)
async def test_one_poison_record_fails_alone(service: QueueService, worker: Worker, name: str, message: str) -> None:
    poison = await service.enqueue_by_name(name)
    good = await service.enqueue(shop.add, 1, 1)

    with pytest.raises(TaskFailedError, match=message):
        await poison.wait(timeout=10)
    assert await good.wait(timeout=10) == 2


async def test_a_task_that_cancels_itself_spends_its_retry_budget(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.cancel_itself.using(retries=2))

    with pytest.raises(TaskFailedError, match="cancelled itself"):
        await sent.wait(timeout=10)
    assert (sent.record.attempt, sent.record.retry_count) == (3, 2)


@pytest.mark.parametrize("name, arguments", [("shop.return_nonsense", ()), ("shop.return_much", (2_000_000,))])
async def test_a_result_that_cannot_be_stored_is_not_tried_again(
    service: QueueService, worker: Worker, name: str, arguments: tuple[int, ...]
) -> None:
    impossible = find_task(name).using(retries=3)
    sent = await service.enqueue(impossible, *arguments)

    with pytest.raises(TaskFailedError):
        await sent.wait(timeout=10)
    assert sent.record.attempt == 1


async def test_a_result_that_the_annotation_does_not_allow_fails_in_the_worker_with_its_value(
    service: QueueService, worker: Worker
) -> None:
    sent = await service.enqueue(shop.return_text_for_number.using(retries=3))

    with pytest.raises(TaskFailedError, match=r"shop\.return_text_for_number.*'seven' does not fit.*Expected `int`"):
        await sent.wait(timeout=10)
    assert sent.record.attempt == 1


async def test_a_result_that_the_code_no_longer_reads_names_the_task_and_the_record(
    service: QueueService, worker: Worker
) -> None:
    sent = await service.enqueue(shop.measure, "four")
    await service.wait(sent.id, timeout=10)
    changed = TaskResult(sent.record, outcome=sent.outcome, source=service, codec=shop.describe.codec)

    with pytest.raises(InvalidResultError, match=rf"shop\.measure \({sent.id}\).*Expected `array`"):
        await changed.wait(timeout=10)


async def test_a_record_runs_once_under_one_epoch(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.wait_at_gate)
    await gate.wait_begun()

    with pytest.raises(OwnershipLostError):
        await service.execute_record(await sent.refresh())
    gate.opened.set()

    assert await sent.wait(timeout=10) == "passed"


async def test_a_payload_over_the_limit_is_refused_or_recorded(service: QueueService, worker: Worker) -> None:
    too_much = service.config.max_payload_bytes

    with pytest.raises(PayloadTooLargeError, match="limit is 1,000,000"):
        await service.enqueue(shop.measure, "x" * too_much)
    with pytest.raises(PayloadTooLargeError):
        await service.enqueue(shop.measure, "\N{SNOWMAN}" * (too_much // 2))
    sent = await service.enqueue(shop.return_much, too_much)
    with pytest.raises(TaskFailedError, match="PayloadTooLargeError"):
        await sent.wait(timeout=10)


async def test_higher_priority_runs_first(config: QueueConfig) -> None:
    async with QueueService(replace(config, concurrency=1)) as service:
        sent = await service.enqueue_many(shop.add.using(priority=level).call(level, 0) for level in (1, 5, 3))

        async with Worker(service):
            results = [await one.wait(timeout=10) for one in sent]

    started = {one.record.started_at: result for one, result in zip(sent, results, strict=True)}
    assert [started[moment] for moment in sorted(filter(None, started))] == [5, 3, 1]


async def test_a_delayed_call_does_not_start_early(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.add.using(delay=0.3), 1, 1)

    assert await sent.wait(timeout=10) == 2
    assert sent.record.started_at is not None
    assert sent.record.started_at - sent.record.created_at >= timedelta(seconds=0.3)


async def test_a_call_that_is_late_expires_and_never_runs(service: QueueService) -> None:
    sent = await service.enqueue(shop.add.using(expires_at=datetime.now(UTC)), 1, 1)

    async with Worker(service):
        with pytest.raises(TaskFailedError, match="expired"):
            await sent.wait(timeout=10)
    assert sent.record.attempt == 0


async def test_a_key_finds_the_record_that_holds_it(service: QueueService) -> None:
    first = await service.enqueue(shop.add.using(key="k"), 1, 1)
    second = await service.enqueue(shop.add.using(key="k"), 2, 2)

    assert (first.created, second.created) == (True, False)
    assert second.id == first.id
    async with Worker(service):
        assert await second.wait(timeout=10) == 2
    third = await service.enqueue(shop.add.using(key="k"), 3, 3)
    assert third.created


async def test_progress_is_readable_while_the_task_runs(service: QueueService, worker: Worker) -> None:
    gate = shop.new_gate()
    sent = await service.enqueue(shop.count, 3)
    await gate.wait_begun()

    seen = await sent.refresh()
    while seen.progress is None or seen.progress.done < 3:
        await asyncio.sleep(0)
        seen = await sent.refresh()
    gate.opened.set()

    assert (seen.status, seen.progress.total, seen.progress.message) == ("running", 3, "step 3")
    assert await sent.wait(timeout=10) == 3


async def test_a_plain_function_reports_progress_from_its_thread(service: QueueService, worker: Worker) -> None:
    sent = await service.enqueue(shop.count_in_thread)

    assert await sent.wait(timeout=10) == "lq shop.count_in_thread"
    assert sent.record.progress is not None


async def test_waiting_gives_up_and_says_what_may_be_wrong(service: QueueService) -> None:
    sent = await service.enqueue(shop.add, 1, 1)

    with pytest.raises(WaitTimeoutError, match="Is a worker running"):
        await sent.wait(timeout=0.01)


async def test_a_misspelt_execution_backend_is_refused_at_enqueue(service: QueueService) -> None:
    with pytest.raises(UnknownBackendError, match="Did you mean 'local'"):
        await service.enqueue(shop.add.using(execution_backend="locl"), 1, 1)
    with pytest.raises(UnknownBackendError, match=r"shop\.Nowhere"):
        await service.enqueue(shop.add.using(execution_backend="shop.Nowhere"), 1, 1)


async def test_an_immediate_call_has_ended_when_enqueue_returns(service: QueueService) -> None:
    here = shop.add.using(execution_backend="immediate")

    sent = await service.enqueue(here, 2, 2)

    assert sent.status is TaskStatus.COMPLETED
    assert await sent.wait() == 4


async def test_a_paused_queue_gives_nothing_out_until_it_is_resumed(service: QueueService, worker: Worker) -> None:
    await service.pause("mail")
    waiting = await service.enqueue(shop.add.using(queue="mail"), 1, 1)
    other = await service.enqueue(shop.add, 2, 2)

    assert await other.wait(timeout=10) == 4
    assert (await waiting.refresh()).status is TaskStatus.PENDING
    await service.resume("mail")
    assert await waiting.wait(timeout=10) == 2


async def test_every_attempt_is_told_in_the_log(
    service: QueueService, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="lq")
    sent = await service.enqueue(shop.stumble, 1)
    await sent.wait(timeout=10)
    while "task.completed" not in events(caplog):  # noqa: ASYNC110 -- logging has no event to wait for
        await asyncio.sleep(0)

    told = [entry for entry in caplog.records if vars(entry).get("record_id") == str(sent.id)]
    assert [vars(entry)["event"] for entry in told] == ["task.retried", "task.completed"]
    assert vars(told[0])["error"] == "ValueError: stumbled 1"
    assert f"task.retried task_name=shop.stumble record_id={sent.id} attempt=1" in told[0].getMessage()
    assert "error='ValueError: stumbled 1'" in told[0].getMessage()


@pytest.mark.parametrize("refused", [{"task.completed"}, {"task.completed", "task.outcome_not_told"}])
async def test_a_filter_that_raises_changes_no_outcome(
    service: QueueService, caplog: pytest.LogCaptureFixture, refused: set[str]
) -> None:
    def refuse(entry: logging.LogRecord) -> bool:
        if vars(entry).get("event") in refused:
            raise ValueError("not this one")
        return True

    caplog.set_level("INFO", logger="lq")
    logging.getLogger("lq").addFilter(refuse)
    try:
        sent = await service.enqueue(shop.add.using(execution_backend="immediate"), 1, 2)
    finally:
        logging.getLogger("lq").removeFilter(refuse)

    assert sent.record.status is TaskStatus.COMPLETED
    assert ("task.outcome_not_told" in events(caplog)) == ("task.outcome_not_told" not in refused)


@pytest.mark.parametrize("name", ["log", "progress"])
async def test_a_report_from_a_thread_that_comes_from_the_event_loop_is_refused(
    service: QueueService, worker: Worker, name: str
) -> None:
    with pytest.raises(TaskFailedError, match=rf"await context\.{name}\("):
        await (await service.enqueue(shop.report_as_if_in_a_thread, name)).wait(timeout=10)
