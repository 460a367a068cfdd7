"""The life of a record: which step may follow which, and what each step does to counters, deadline and key."""

from datetime import timedelta
from uuid import UUID

import pytest
from msgspec.structs import replace

from lq_core import IllegalMoveError, KeyScope, OnLoss, QueuedTaskRecord, RetryRules, TaskStatus
from lq_core.records import lifecycle
from lq_core.records.record import TERMINAL, Dependencies
from records_at_noon import FAILURE, NOON, a_record, running

AT_MOST_ONCE = RetryRules(on_loss=OnLoss.FAIL)


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
