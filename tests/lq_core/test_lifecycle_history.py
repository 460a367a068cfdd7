"""The history of a record: how it is bounded, told as a timeline, and limits how often a record is passed on."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from lq_core import QueuedTaskRecord, TaskFailure
from lq_core.records import lifecycle
from lq_core.records.history import MAX_HISTORY
from lq_core.records.timeline import timeline
from records_at_noon import FAILURE, NOON, a_record, running

UNKNOWN = TaskFailure(type="UnknownTaskError", message="no such task")


def passed_on(record: QueuedTaskRecord, *, after: float, patience: float = 86_400) -> QueuedTaskRecord:
    at = NOON + timedelta(seconds=after)
    claimed = lifecycle.claim(record, worker_id="old", at=at)
    return lifecycle.pass_on(claimed, failure=UNKNOWN, patience=patience, at=at)


def test_a_record_that_its_worker_cannot_read_waits_as_it_was_before_the_claim() -> None:
    soon = NOON + timedelta(seconds=60)
    before = replace(a_record(retries=1, losses=2), expires_at=soon)

    waiting = passed_on(before, after=0)

    assert replace(waiting, epoch=0, history=(), scheduled_at=NOON) == before
    assert (waiting.scheduled_at, waiting.epoch) == (NOON + timedelta(seconds=1), 2)


def test_the_pauses_of_a_record_that_nobody_can_read_grow_to_a_minute_and_its_history_does_not_grow() -> None:
    waiting, pauses = a_record(), list[float]()

    for after in (0, 1, 3, 10, 100, 80_000):
        waiting = passed_on(waiting, after=after)
        pauses.append((waiting.scheduled_at - NOON).total_seconds() - after)

    assert pauses == [1, 1, 3, 10, 60, 60]
    (entry,) = waiting.history
    assert (entry.at, entry.event, entry.failure, entry.worker_id) == (NOON, "passed_on", UNKNOWN, "old")


def test_a_record_that_no_worker_can_read_fails_when_patience_ends() -> None:
    waiting = passed_on(a_record(retries=3), after=0, patience=10)

    failed = passed_on(waiting, after=10, patience=10)

    assert (failed.status, failed.error) == ("failed", UNKNOWN)
    assert [entry.event for entry in failed.history] == ["passed_on", "failed"]


@pytest.mark.parametrize("step", ["a real start", "a retry by hand"])
def test_patience_begins_again_after(step: str) -> None:
    waiting = passed_on(a_record(retries=3), after=0, patience=10)
    started = lifecycle.claim(waiting, worker_id="new", at=NOON)
    again = {
        "a real start": lambda: lifecycle.retry_or_fail(started, failure=FAILURE, delay=0, at=NOON),
        "a retry by hand": lambda: lifecycle.retry(lifecycle.cancel(waiting, at=NOON), at=NOON),
    }[step]()

    later = passed_on(again, after=20, patience=10)

    assert (later.status, later.history[-1].at) == ("pending", NOON + timedelta(seconds=20))
    assert [entry.event for entry in later.history].count("passed_on") == 1


def test_releases_of_reservations_do_not_extend_the_patience() -> None:
    waiting = passed_on(a_record(), after=0, patience=10)
    released = lifecycle.release(lifecycle.dispatch(waiting, at=NOON), at=NOON, message="refused")

    assert passed_on(released, after=10, patience=10).status == "failed"


def test_what_was_only_put_off_makes_room_for_what_has_happened() -> None:
    record = a_record()
    for _ in range(3):
        running = lifecycle.claim(record, worker_id="ada", at=NOON)
        record = lifecycle.interrupt(running, at=NOON)
        for _ in range(MAX_HISTORY):
            record = lifecycle.release(lifecycle.dispatch(record, at=NOON), at=NOON, message="refused")

    assert [entry.event for entry in record.history].count("interrupted") == 3
    assert len(record.history) == MAX_HISTORY


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    record = running(retries=100)
    for count in range(MAX_HISTORY + 5):
        failure = TaskFailure(type="ValueError", message=str(count))
        retried = lifecycle.retry_or_fail(record, failure=failure, delay=0, at=NOON)
        record = lifecycle.claim(retried, worker_id="ada", at=NOON)

    assert len(record.history) == MAX_HISTORY
    assert record.history[-1].failure == TaskFailure(type="ValueError", message=str(MAX_HISTORY + 4))


def test_a_reservation_that_was_taken_back_is_told_as_no_attempt() -> None:
    reserved = lifecycle.dispatch(a_record(), at=NOON)
    released = lifecycle.release(reserved, at=NOON, message="refused")
    done = lifecycle.complete(
        lifecycle.claim(released, worker_id="ada", at=NOON + timedelta(hours=1)),
        result="1",
        at=NOON + timedelta(hours=1),
    )

    assert [event.event for event in timeline(released)] == ["enqueued", "dispatched", "released"]
    assert [event.event for event in timeline(done)] == ["enqueued", "dispatched", "released", "claimed", "completed"]


def test_an_attempt_whose_end_is_forgotten_is_told_as_an_attempt() -> None:
    failure = TaskFailure(type="ValueError", message="")
    record = lifecycle.retry_or_fail(running(), failure=failure, delay=None, at=NOON)
    for _ in range(MAX_HISTORY):
        record = lifecycle.retry(record, at=NOON)
        started = lifecycle.claim(record, worker_id="ada", at=NOON)
        record = lifecycle.retry_or_fail(started, failure=failure, delay=None, at=NOON)

    assert "dispatched" not in {event.event for event in timeline(record)}
