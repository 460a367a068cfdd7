"""A Hypothesis state machine: a queue backend and the plain model go the same way, step by step."""

from datetime import timedelta
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from lq_core.contracts.queue.side_by_side import EVERYTHING, WORKERS, BackendBesideModel, MakeBackend, in_order
from lq_core.contracts.queue.swaps import FROM_RUNNING
from lq_core.contracts.records import a_record
from lq_core.queue import Claim, Proposal, Successors, Swap
from lq_core.records import lifecycle
from lq_core.records.record import (
    TERMINAL,
    AfterFailure,
    Dependencies,
    KeyScope,
    Limits,
    Progress,
    RateLimit,
    TaskStatus,
)
from lq_core.schedules.cron_plan import Plan
from lq_core.schedules.schedule_state import ScheduleState
from lq_core.tasks.options import OnConflict

QUEUES: Final = ("mail", "film")

ONE: Final = Limits(concurrency=1)
TWO: Final = Limits(concurrency=2)
SLOW: Final = Limits(rate=RateLimit(2, per=10))
BOTH: Final = Limits(concurrency=2, rate=RateLimit(3, per=1, burst=1))

queues = st.sampled_from(QUEUES)
workers = st.sampled_from(WORKERS)
task_names = st.sampled_from(["test.task", "test.task", "test.other"])
numbers = st.integers(min_value=0, max_value=1_000)
claims = st.builds(
    Claim,
    worker_id=workers,
    limit=st.integers(min_value=0, max_value=4),
    execution_backends=st.sampled_from([("local",), ("cloud",), ("local", "cloud"), ()]),
    queues=st.sampled_from([None, None, ("mail",), ("film", "absent"), ()]),
    to=st.sampled_from([TaskStatus.RUNNING, TaskStatus.RUNNING, TaskStatus.DISPATCHED]),
)
plans = st.fixed_dictionaries(
    {
        "queue": queues,
        "priority": st.integers(min_value=-1, max_value=1),
        "execution_backend": st.sampled_from(["local", "local", "cloud"]),
        "key": st.sampled_from([None, None, "one", "two"]),
        "key_scope": st.sampled_from(list(KeyScope)),
        "limited": st.sampled_from([None, None, None, ("ann", ONE), ("ann", TWO), ("ben", SLOW), ("cat", BOTH)]),
        "retries": st.integers(min_value=0, max_value=2),
        "delay": st.sampled_from([0, 0, 0, 5, 60]),
        "lifetime": st.sampled_from([None, None, 3, 30]),
    }
)


class QueueBackendMachine(BackendBesideModel):
    """Drives one backend; :func:`queue_backend_machine` makes the class for yours."""

    @rule(some=st.lists(plans, min_size=1, max_size=3))
    def insert(self, some: list[dict[str, Any]]) -> None:
        """Enqueue."""
        records = [self.planned(plan) for plan in some]
        assert self.wait(self.backend.insert(records)) == self.model.insert(records)

    @rule(some=st.lists(plans, min_size=1, max_size=3), policy=st.sampled_from(OnConflict), task_name=task_names)
    def propose(self, some: list[dict[str, Any]], policy: OnConflict, task_name: str) -> None:
        """Enqueue, or amend the holder of the key."""
        proposals = [Proposal(self.planned({**plan, "task_name": task_name}), policy) for plan in some]
        assert self.wait(self.backend.propose(proposals)) == self.model.propose(proposals)

    @rule(claim=claims)
    def claim(self, claim: Claim) -> None:
        """Claim or reserve."""
        taken = self.wait(self.backend.claim(claim))
        assert taken.alive is (claim.worker_id in self.model.workers)
        assert list(taken.records) == self.model.claim(claim)

    @precondition(lambda self: self.owned())
    @rule(which=numbers, step=st.sampled_from(sorted(FROM_RUNNING)))
    def settle(self, which: int, step: str) -> None:
        """End an ownership with one of the steps."""
        self.swap(self.settled(which, step))

    @precondition(lambda self: self.owned())
    @rule(which=numbers, step=st.sampled_from(sorted(FROM_RUNNING)), claim=claims)
    def settle_and_claim(self, which: int, step: str, claim: Claim) -> None:
        """Settle a record twice and claim in one round trip; one of the two swaps is kept."""
        swap = self.settled(which, step)
        # A backend may claim a record that returns to pending at once or not, so here it waits.
        if swap.record.status is TaskStatus.PENDING:
            later = max(swap.record.scheduled_at, self.model.at + timedelta(seconds=1))
            swap = replace(swap, record=replace(swap.record, scheduled_at=later))
        kept, taken = self.wait(self.backend.settle_and_claim([swap, swap], claim))
        assert list(kept) == [self.model.swap(swap), self.model.swap(swap)]
        assert list(taken.records) == self.model.claim(claim)

    @precondition(lambda self: self.model.records)
    @rule(which=numbers, stale=st.sampled_from([-1, 1, 7]))
    def swap_from_another_epoch(self, which: int, stale: int) -> None:
        """Try to write with an old epoch."""
        record = self.chosen(self.model.all(), which)
        usurped = replace(record, status=TaskStatus.COMPLETED, epoch=record.epoch + 1)
        self.swap(Swap(record=usurped, epoch=record.epoch + stale))

    @precondition(lambda self: self.owned())
    @rule(which=numbers, done=st.floats(min_value=0, max_value=9))
    def progress(self, which: int, done: float) -> None:
        """Write as the owner, and remain the owner."""
        record = self.chosen(self.owned(), which)
        further = lifecycle.attach(replace(record, progress=Progress(done=done)), execution_ref="executions/1")
        self.swap(Swap(record=further, epoch=record.epoch))

    @precondition(lambda self: self.model.records)
    @rule(which=numbers, stale=st.sampled_from([0, 0, 0, -1]))
    def request_cancel(self, which: int, stale: int) -> None:
        """Request a cancel."""
        record = self.chosen(self.model.all(), which)
        answer = self.wait(self.backend.request_cancel(record.id, record.epoch + stale))
        assert answer is self.model.request_cancel(record, record.epoch + stale)

    @precondition(lambda self: self.model.records)
    @rule(plan=plans, some=st.lists(numbers, min_size=1, max_size=3), on_failure=st.sampled_from(AfterFailure))
    def insert_after(self, plan: dict[str, Any], some: list[int], on_failure: AfterFailure) -> None:
        """Enqueue a blocked record, whose predecessors may have ended already."""
        before = dict.fromkeys(self.chosen(self.model.all(), which).id for which in some)
        record = self.planned({**plan, "key": None})
        record = replace(record, after=Dependencies(ids=tuple(before), on_failure=on_failure), blocked=True)
        assert self.wait(self.backend.insert([record])) == self.model.insert([record])

    @rule()
    def release(self) -> None:
        """Unblock the records whose predecessors have all ended."""
        unblocked = self.wait(self.backend.unblocked(limit=EVERYTHING))
        assert unblocked == self.model.unblocked()
        if isinstance(self.backend, Successors):
            ids = [record.id for record in self.model.all()]
            after_these = [record for record in unblocked.records if self.model.before(record)]
            assert list(self.wait(self.backend.unblocked_by(ids, limit=EVERYTHING))) == after_these
        for record in unblocked.records:
            incomplete = self.model.incomplete(record)
            after = lifecycle.unblock(record, incomplete=incomplete, at=self.model.at)
            self.swap(Swap(record=after, epoch=record.epoch))

    @precondition(lambda self: self.pending())
    @rule(which=numbers)
    def cancel_pending(self, which: int) -> None:
        """Cancel a pending record."""
        record = self.chosen(self.pending(), which)
        self.swap(Swap(record=lifecycle.cancel(record, at=self.model.at), epoch=record.epoch))

    @precondition(lambda self: self.ended())
    @rule(which=numbers)
    def retry_by_hand(self, which: int) -> None:
        """Retry by hand."""
        record = self.chosen(self.ended(), which)
        self.swap(Swap(record=lifecycle.retry(record, at=self.model.at), epoch=record.epoch))

    @rule(seconds=st.sampled_from([0.000_001, 1.0, 5.0, 29.0, 70.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Records become due or overdue, workers lapse."""
        self.model.at += timedelta(seconds=seconds)

    @rule(name=workers)
    def register(self, name: str) -> None:
        """A worker starts."""
        self.register_worker(name)

    @rule(name=workers)
    def beat(self, name: str) -> None:
        """A heartbeat."""
        alive = name in self.model.workers
        assert self.wait(self.backend.beat(name)) is alive
        if alive:
            self.model.workers[name] = replace(self.model.workers[name], seen_at=self.model.at)

    @rule(name=workers)
    def retire(self, name: str) -> None:
        """A worker retires."""
        self.wait(self.backend.retire(name))
        self.model.workers.pop(name, None)

    @rule(timeout=st.sampled_from([10.0, 30.0]))
    def rescue(self, timeout: float) -> None:
        """Declare workers dead."""
        orphans = self.wait(self.backend.orphans(timeout=timeout, limit=EVERYTHING))
        assert in_order(orphans) == self.model.orphans(timeout)

    @rule()
    def expire(self) -> None:
        """Expire every overdue record."""
        for record in self.wait(self.backend.overdue(limit=EVERYTHING)):
            self.swap(Swap(record=lifecycle.expire(record, at=self.model.at), epoch=record.epoch))

    @rule(queue=queues, paused=st.booleans())
    def pause(self, queue: str, *, paused: bool) -> None:
        """Pause or resume a queue."""
        self.change(queue, paused=paused)

    @rule(queue=queues, limits=st.sampled_from([None, ONE, TWO, SLOW, BOTH]))
    def limit(self, queue: str, limits: Limits | None) -> None:
        """Set or remove the limits of a queue."""
        self.change(queue, limits=limits)

    @rule(queue=queues, drain=st.booleans())
    def drain(self, queue: str, *, drain: bool) -> None:
        """Drain a queue, or end the drain."""
        self.change(queue, draining=self.model.at if drain else None)

    @rule(queue=queues)
    def set_the_state_of_a_queue_from_another(self, queue: str) -> None:
        """Try to overwrite the change of another caller."""
        state = self.model.state(queue)
        other = replace(state, paused=not state.paused)
        assert self.wait(self.backend.swap_queue(queue, other, other)) is False

    @rule(
        name=st.sampled_from(["nightly", "hourly"]),
        stale=st.sampled_from([0, 0, 0, -1, 1]),
        some=st.lists(plans, max_size=2),
        again=st.none() | numbers,
    )
    def save_schedule(self, name: str, stale: int, some: list[dict[str, Any]], again: int | None) -> None:
        """A schedule fires, perhaps for a due time that has its record already."""
        at, known = self.model.at, self.model.schedules.get(name)
        version = (known.version if known else 0) + 1 + stale
        plan = Plan(every=60.0)
        state = ScheduleState(name=name, version=version, task_name="t", plan=plan, handled_until=at, seen_at=at)
        records = [self.planned(plan) for plan in some]
        if again is not None and self.model.records:
            records.append(replace(a_record(), id=self.chosen(self.model.all(), again).id))
        assert self.wait(self.backend.save_schedule(state, records)) is self.model.save_schedule(state, records)

    @rule(status=st.sampled_from(sorted(TERMINAL)), age=st.sampled_from([0.0, 10.0]))
    def delete_ended(self, status: TaskStatus, age: float) -> None:
        """Retention."""
        before = self.model.at - timedelta(seconds=age)
        deleted = self.wait(self.backend.delete_ended(status=status, before=before, limit=EVERYTHING))
        assert deleted == self.model.delete_ended(status, before)

    @rule(claim=claims)
    def next_due(self, claim: Claim) -> None:
        """Ask when the next record becomes due."""
        due = self.wait(self.backend.next_due(claim))
        # A record that became due meanwhile counts as due, although only the next claim promotes it.
        ripe = any(record.created_at < record.scheduled_at <= self.model.at for record in self.model.waiting_for(claim))
        assert (due and max(due, self.model.at)) in {self.model.next_due(claim), self.model.at if ripe else None}


def queue_backend_machine(make: MakeBackend) -> type[QueueBackendMachine]:
    """
    Make the state machine for a backend: *make* is given the clock, and answers with a new, empty backend.

    ``TestStates = queue_backend_machine(lambda clock: MyQueueBackend(clock=clock)).TestCase`` is a test.
    """
    return type("Machine", (QueueBackendMachine,), {"make": staticmethod(make)})
