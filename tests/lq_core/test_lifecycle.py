"""The life of a record: which step may follow which, and what each step does to the counters."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import IllegalMoveError, KeyScope, OnLoss, QueuedTaskRecord, RetryRules, TaskFailure, TaskStatus
from lq_core.records import lifecycle
from lq_core.records.history import MAX_HISTORY
from lq_core.records.record import TERMINAL, Dependencies
from lq_core.records.timeline import timeline

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
AT_MOST_ONCE = RetryRules(on_loss=OnLoss.FAIL)
FAILURE = TaskFailure(type="ValueError", message="no")


def a_record(*, status: TaskStatus = TaskStatus.PENDING, retries: int = 0, losses: int = 0) -> QueuedTaskRecord:
    return QueuedTaskRecord(
        id=UUID(int=1), task_name="t", created_at=NOON, scheduled_at=NOON, status=status, retries=retries, losses=losses
    )


def running(*, retries: int = 0, losses: int = 0) -> QueuedTaskRecord:
    return lifecycle.claim(a_record(retries=retries, losses=losses), worker_id="ada", at=NOON)


def test_a_claim_starts_an_attempt_under_a_new_epoch() -> None:
    claimed = lifecycle.claim(a_record(), worker_id="ada", at=NOON)

    assert (claimed.status, claimed.worker_id, claimed.attempt, claimed.epoch) == ("running", "ada", 1, 1)


def test_a_dispatched_record_counts_as_started_only_when_it_is_claimed() -> None:
    reserved = lifecycle.dispatch(a_record(), at=NOON)

    claimed = lifecycle.claim(reserved, worker_id="container", at=NOON)

    assert (reserved.attempt, claimed.attempt, claimed.epoch) == (0, 1, 2)


def test_a_failure_spends_the_budget_and_then_fails() -> None:
    first = lifecycle.retry_or_fail(running(retries=1), failure=FAILURE, delay=60, at=NOON)
    second = lifecycle.claim(first, worker_id="ada", at=NOON)
    last = lifecycle.retry_or_fail(second, failure=FAILURE, delay=60, at=NOON)

    assert (first.status, first.retry_count, first.scheduled_at) == ("pending", 1, NOON + timedelta(seconds=60))
    assert (last.status, last.retry_count, last.error) == ("failed", 1, FAILURE)


def test_a_failure_without_a_delay_is_final_whatever_the_budget() -> None:
    assert lifecycle.retry_or_fail(running(retries=9), failure=FAILURE, delay=None, at=NOON).status == "failed"


def test_an_interruption_and_a_snooze_spend_nothing() -> None:
    interrupted = lifecycle.interrupt(running(), at=NOON)
    snoozed = lifecycle.snooze(running(), delay=5, at=NOON)

    assert (interrupted.status, interrupted.retry_count, interrupted.scheduled_at) == ("pending", 0, NOON)
    assert (snoozed.status, snoozed.retry_count, snoozed.scheduled_at) == ("pending", 0, NOON + timedelta(seconds=5))


def test_a_record_whose_workers_keep_dying_fails_in_the_end() -> None:
    survivor = running(losses=lifecycle.MAX_LOSSES - 1)
    goner = running(losses=lifecycle.MAX_LOSSES)

    assert lifecycle.lose(survivor, failure=FAILURE, at=NOON).status == "pending"
    assert lifecycle.lose(goner, failure=FAILURE, at=NOON).status == "failed"


def test_a_task_may_set_how_many_losses_it_survives() -> None:
    patient = replace(running(losses=6), retry_rules=RetryRules(max_losses=7))
    fragile = replace(running(), retry_rules=RetryRules(max_losses=0))

    assert lifecycle.lose(patient, failure=FAILURE, at=NOON).losses == 7
    assert lifecycle.lose(fragile, failure=FAILURE, at=NOON).status == "failed"


def test_a_task_that_must_not_start_twice_fails_when_its_start_is_lost_or_interrupted() -> None:
    begun = replace(running(), retry_rules=AT_MOST_ONCE)

    lost = lifecycle.lose(begun, failure=FAILURE, at=NOON)
    interrupted = lifecycle.interrupt(begun, at=NOON, message="stopped: stopping", has_begun=True)

    assert (lost.status, lost.error) == ("failed", FAILURE)
    assert interrupted.error is not None
    assert (interrupted.status, interrupted.error.type) == ("failed", "Interrupted")


def test_a_task_that_must_not_start_twice_starts_later_if_it_has_not_begun() -> None:
    reserved = lifecycle.dispatch(replace(a_record(), retry_rules=AT_MOST_ONCE), at=NOON)
    claimed = lifecycle.claim(reserved, worker_id="ada", at=NOON)

    assert lifecycle.lose(reserved, failure=FAILURE, at=NOON).status == "pending"
    assert lifecycle.interrupt(claimed, at=NOON, message="the answer to its claim was lost").status == "pending"


@pytest.mark.parametrize("end", ["retry", "snooze", "interrupt", "lose", "pass_on"])
def test_a_record_that_was_asked_to_stop_is_not_started_again(end: str) -> None:
    asked = lifecycle.request_cancel(running(retries=3))

    ended = {
        "retry": lambda: lifecycle.retry_or_fail(asked, failure=FAILURE, delay=1, at=NOON),
        "snooze": lambda: lifecycle.snooze(asked, delay=1, at=NOON),
        "interrupt": lambda: lifecycle.interrupt(asked, at=NOON),
        "lose": lambda: lifecycle.lose(asked, failure=FAILURE, at=NOON),
        "pass_on": lambda: lifecycle.pass_on(asked, failure=FAILURE, patience=60, at=NOON),
    }[end]()

    assert (ended.status, ended.cancel_requested) == ("cancelled", False)


def test_every_way_out_of_an_owners_hands_clears_the_execution_reference() -> None:
    owned = lifecycle.attach(running(retries=1), execution_ref="executions/1", log_url="https://logs")

    ends = [
        lifecycle.complete(owned, result="1", at=NOON),
        lifecycle.retry_or_fail(owned, failure=FAILURE, delay=1, at=NOON),
        lifecycle.interrupt(owned, at=NOON),
        lifecycle.lose(owned, failure=FAILURE, at=NOON),
        lifecycle.cancel(owned, at=NOON),
    ]

    assert {(end.execution_ref, end.worker_id, end.log_url) for end in ends} == {(None, None, "https://logs")}


@pytest.mark.parametrize("end", ["retry", "snooze", "interrupt", "lose"])
def test_a_record_that_was_started_in_time_does_not_expire_while_it_waits_for_its_next_attempt(end: str) -> None:
    soon = NOON + timedelta(seconds=60)
    begun = lifecycle.claim(replace(a_record(retries=1), expires_at=soon), worker_id="ada", at=NOON)

    waiting = {
        "retry": lambda: lifecycle.retry_or_fail(begun, failure=FAILURE, delay=120, at=NOON),
        "snooze": lambda: lifecycle.snooze(begun, delay=120, at=NOON),
        "interrupt": lambda: lifecycle.interrupt(begun, at=NOON),
        "lose": lambda: lifecycle.lose(begun, failure=FAILURE, at=NOON),
    }[end]()

    assert begun.expires_at == soon
    assert waiting.expires_at is None
    assert not lifecycle.is_overdue(waiting, at=NOON + timedelta(days=1))


def test_a_record_that_was_only_handed_over_still_expires() -> None:
    soon = NOON + timedelta(seconds=60)
    reserved = lifecycle.dispatch(replace(a_record(), expires_at=soon), at=NOON)

    assert lifecycle.release(reserved, at=NOON, delay=120).expires_at == soon


def test_a_retry_by_hand_of_what_has_never_begun_still_waits_for_others() -> None:
    blocked = replace(a_record(), after=Dependencies(ids=(UUID(int=2),)), blocked=True)
    begun = lifecycle.claim(replace(blocked, blocked=False), worker_id="ada", at=NOON)

    assert lifecycle.retry(lifecycle.cancel(blocked, at=NOON), at=NOON).blocked
    assert not lifecycle.retry(lifecycle.cancel(begun, at=NOON), at=NOON).blocked


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


def test_a_record_that_runs_cannot_be_retried_by_hand() -> None:
    with pytest.raises(IllegalMoveError, match="is running and cannot be retried: it has not ended"):
        lifecycle.retry(running(), at=NOON)


def test_why_a_completed_record_cannot_be_retried_by_hand_is_said() -> None:
    with pytest.raises(IllegalMoveError, match="is completed and cannot be retried: it has completed"):
        lifecycle.retry(a_record(status=TaskStatus.COMPLETED), at=NOON)


def test_a_retry_by_hand_gives_the_whole_budget_back() -> None:
    failed = lifecycle.retry_or_fail(running(retries=2, losses=3), failure=FAILURE, delay=None, at=NOON)

    retried = lifecycle.retry(failed, at=NOON)

    assert (retried.status, retried.retry_count, retried.losses, retried.finished_at) == ("pending", 0, 0, None)
    assert retried.epoch == failed.epoch + 1


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_record_cannot_be_claimed(status: TaskStatus) -> None:
    with pytest.raises(IllegalMoveError, match=f"is {status} and cannot become running"):
        lifecycle.claim(a_record(status=status), worker_id="ada", at=NOON)


def test_a_completed_record_is_never_changed_again() -> None:
    assert lifecycle.MOVES[TaskStatus.COMPLETED] == ()


def test_every_status_has_its_row_in_the_table() -> None:
    assert set(lifecycle.MOVES) == set(TaskStatus)


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


def test_only_an_unreleased_key_is_held() -> None:
    keyed = QueuedTaskRecord(id=UUID(int=1), task_name="t", key="k", created_at=NOON, scheduled_at=NOON)

    assert lifecycle.holds_key(keyed, at=NOON)
    assert not lifecycle.holds_key(lifecycle.cancel(keyed, at=NOON), at=NOON)
    assert not lifecycle.holds_key(lifecycle.retry(lifecycle.cancel(keyed, at=NOON), at=NOON), at=NOON)


def test_a_record_that_waits_cannot_be_put_back() -> None:
    with pytest.raises(IllegalMoveError, match="is pending and cannot be put back: it waits already"):
        lifecycle.interrupt(a_record(), at=NOON)


def test_the_scope_and_the_window_say_which_step_lets_go_of_the_key() -> None:
    keyed = QueuedTaskRecord(id=UUID(int=1), task_name="t", key="k", created_at=NOON, scheduled_at=NOON)
    until_start = replace(keyed, key_scope=KeyScope.STARTED)
    for_a_minute = replace(keyed, key_scope=KeyScope.WINDOW, key_until=NOON + timedelta(minutes=1))
    ended = lifecycle.cancel(for_a_minute, at=NOON)

    assert not lifecycle.claim(keyed, worker_id="ada", at=NOON).key_released
    assert lifecycle.claim(until_start, worker_id="ada", at=NOON).key_released
    assert lifecycle.dispatch(until_start, at=NOON).key_released
    assert lifecycle.holds_key(ended, at=NOON + timedelta(seconds=59))
    assert not lifecycle.holds_key(ended, at=NOON + timedelta(seconds=60))
    assert lifecycle.cancel(for_a_minute, at=NOON + timedelta(seconds=60)).key_released


def test_what_was_not_started_in_time_holds_no_key_and_cannot_be_amended() -> None:
    keyed = replace(a_record(), key="k", expires_at=NOON)

    assert lifecycle.holds_key(keyed, at=NOON - timedelta(seconds=1))
    assert not lifecycle.holds_key(keyed, at=NOON)
    assert not lifecycle.can_be_amended(keyed, to=a_record())


def test_only_what_still_waits_can_be_amended_and_by_its_own_task() -> None:
    asked = replace(a_record(), cancel_requested=True)

    assert lifecycle.can_be_amended(a_record(), to=a_record())
    assert not lifecycle.can_be_amended(asked, to=a_record())
    assert not lifecycle.can_be_amended(running(), to=a_record())
    assert not lifecycle.can_be_amended(a_record(), to=replace(a_record(), task_name="u"))


@pytest.mark.parametrize(
    "before, after",
    [
        (running(), lifecycle.complete(running(), result="1", at=NOON)),
        (running(), lifecycle.retry_or_fail(running(), failure=FAILURE, delay=None, at=NOON)),
        (running(retries=1), lifecycle.retry_or_fail(running(retries=1), failure=FAILURE, delay=1, at=NOON)),
        (running(), lifecycle.snooze(running(), delay=1, at=NOON)),
        (running(), lifecycle.interrupt(running(), at=NOON)),
        (running(), lifecycle.lose(running(), failure=FAILURE, at=NOON)),
        (running(), lifecycle.cancel(running(), at=NOON)),
        (a_record(), lifecycle.dispatch(a_record(), at=NOON)),
        (a_record(), lifecycle.expire(a_record(), at=NOON)),
        (a_record(), lifecycle.amend(a_record(), to=a_record(), reschedule=True)),
    ],
    ids=["complete", "fail", "retry", "snooze", "interrupt", "lose", "cancel", "dispatch", "expire", "amend"],
)
def test_every_change_of_who_may_write_raises_the_epoch(before: QueuedTaskRecord, after: QueuedTaskRecord) -> None:
    assert after.epoch == before.epoch + 1


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
