"""
A Hypothesis state machine: a queue backend and the plain model go the same way, and look the same after each step.

The backend has to judge time by the clock that it is given.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.options import OnConflict
from lq_core.plan import Plan
from lq_core.queue import BaseQueueBackend, Claim, Proposal, RecordFilter, Swap
from lq_core.record import (
    OWNED,
    TERMINAL,
    AfterFailure,
    Dependencies,
    KeyScope,
    Limits,
    Progress,
    QueuedTaskRecord,
    RateLimit,
    TaskStatus,
)
from lq_core.schedule_state import ScheduleState
from lq_core.testing.queue.model import QueueModel
from lq_core.testing.queue.swaps import FROM_DISPATCHED, FROM_RUNNING
from lq_core.testing.records import a_record, a_worker

Answer = TypeVar("Answer")
MakeBackend = Callable[[Callable[[], datetime]], BaseQueueBackend]

QUEUES: Final = ("mail", "film")
WORKERS: Final = ("ada", "bob")
EVERYTHING: Final = 10_000

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


class QueueBackendMachine(RuleBasedStateMachine):
    """Drives one backend; :func:`queue_backend_machine` makes the class for yours."""

    make: ClassVar[MakeBackend]

    def __init__(self) -> None:
        super().__init__()
        self.model = QueueModel()
        self.planned_so_far = 0
        self.loop = asyncio.new_event_loop()
        self.backend = type(self).make(lambda: self.model.at)

    @initialize()
    def open(self) -> None:
        """Begin with an open, empty backend and two workers."""
        self.wait(self.backend.open())
        for name in WORKERS:
            self.register(name)

    def teardown(self) -> None:
        """Let go of the backend."""
        self.wait(self.backend.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    # ------------------------------------------------------------ steps

    @rule(some=st.lists(plans, min_size=1, max_size=3))
    def insert(self, some: list[dict[str, Any]]) -> None:
        """Enqueue."""
        records = [self.planned(plan) for plan in some]
        assert self.wait(self.backend.insert(records)) == self.model.insert(records)

    @rule(some=st.lists(plans, min_size=1, max_size=3), policy=st.sampled_from(OnConflict), task_name=task_names)
    def propose(self, some: list[dict[str, Any]], policy: OnConflict, task_name: str) -> None:
        """Enqueue, or let the holder of the key ask for what is new."""
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
        """End an ownership in one of the ways there are."""
        self.swap(self.settled(which, step))

    @precondition(lambda self: self.owned())
    @rule(which=numbers, step=st.sampled_from(sorted(FROM_RUNNING)), claim=claims)
    def settle_and_claim(self, which: int, step: str, claim: Claim) -> None:
        """Settle twice over and claim in one round trip; of the two swaps one is kept."""
        swap = self.settled(which, step)
        # Whether a record that is put back is claimed at once is the backend's choice: put back, it waits.
        if swap.record.status is TaskStatus.PENDING:
            later = max(swap.record.scheduled_at, self.model.at + timedelta(seconds=1))
            swap = replace(swap, record=replace(swap.record, scheduled_at=later))
        kept, taken = self.wait(self.backend.settle_and_claim([swap, swap], claim))
        assert list(kept) == [self.model.swap(swap), self.model.swap(swap)]
        assert list(taken.records) == self.model.claim(claim)

    @precondition(lambda self: self.model.records)
    @rule(which=numbers, stale=st.sampled_from([-1, 1, 7]))
    def swap_from_another_epoch(self, which: int, stale: int) -> None:
        """Try to write for an owner that is not."""
        record = self.chosen(self.model.all(), which)
        usurped = replace(record, status=TaskStatus.COMPLETED, epoch=record.epoch + 1)
        self.swap(Swap(record=usurped, epoch=record.epoch + stale))

    @precondition(lambda self: self.owned())
    @rule(which=numbers, done=st.floats(min_value=0, max_value=9))
    def progress(self, which: int, done: float) -> None:
        """Write as the owner, and stay it."""
        record = self.chosen(self.owned(), which)
        further = lifecycle.attach(replace(record, progress=Progress(done=done)), execution_ref="executions/1")
        self.swap(Swap(record=further, epoch=record.epoch))

    @precondition(lambda self: self.model.records)
    @rule(which=numbers, stale=st.sampled_from([0, 0, 0, -1]))
    def request_cancel(self, which: int, stale: int) -> None:
        """Ask to stop."""
        record = self.chosen(self.model.all(), which)
        answer = self.wait(self.backend.request_cancel(record.id, record.epoch + stale))
        assert answer is self.model.request_cancel(record, record.epoch + stale)

    @precondition(lambda self: self.model.records)
    @rule(plan=plans, some=st.lists(numbers, min_size=1, max_size=3), on_failure=st.sampled_from(AfterFailure))
    def insert_after(self, plan: dict[str, Any], some: list[int], on_failure: AfterFailure) -> None:
        """Enqueue a record that waits for others, which may have ended already."""
        before = dict.fromkeys(self.chosen(self.model.all(), which).id for which in some)
        record = self.planned({**plan, "key": None})
        record = replace(record, after=Dependencies(ids=tuple(before), on_failure=on_failure), blocked=True)
        assert self.wait(self.backend.insert([record])) == self.model.insert([record])

    @rule()
    def release(self) -> None:
        """Let go what waits for nothing any more."""
        freed = self.wait(self.backend.freed(limit=EVERYTHING))
        assert freed == self.model.freed()
        for record in freed.records:
            incomplete = self.model.incomplete(record)
            after = lifecycle.unblock(record, incomplete=incomplete, at=self.model.at)
            self.swap(Swap(record=after, epoch=record.epoch))

    @precondition(lambda self: self.pending())
    @rule(which=numbers)
    def cancel_pending(self, which: int) -> None:
        """Cancel what has not begun."""
        record = self.chosen(self.pending(), which)
        self.swap(Swap(record=lifecycle.cancel(record, at=self.model.at), epoch=record.epoch))

    @precondition(lambda self: self.ended())
    @rule(which=numbers)
    def revive(self, which: int) -> None:
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
        worker = replace(a_worker(name), started_at=self.model.at)
        self.wait(self.backend.register(worker))
        self.model.workers[name] = replace(worker, seen_at=self.model.at)

    @rule(name=workers)
    def beat(self, name: str) -> None:
        """A heartbeat."""
        alive = name in self.model.workers
        assert self.wait(self.backend.beat(name)) is alive
        if alive:
            self.model.workers[name] = replace(self.model.workers[name], seen_at=self.model.at)

    @rule(name=workers)
    def retire(self, name: str) -> None:
        """A worker says goodbye."""
        self.wait(self.backend.retire(name))
        self.model.workers.pop(name, None)

    @rule(timeout=st.sampled_from([10.0, 30.0]))
    def rescue(self, timeout: float) -> None:
        """Declare workers dead."""
        orphans = self.wait(self.backend.orphans(timeout=timeout, limit=EVERYTHING))
        assert in_order(orphans) == self.model.orphans(timeout)

    @rule()
    def expire(self) -> None:
        """Let everything overdue expire."""
        for record in self.wait(self.backend.overdue(limit=EVERYTHING)):
            self.swap(Swap(record=lifecycle.expire(record, at=self.model.at), epoch=record.epoch))

    @rule(queue=queues, paused=st.booleans())
    def pause(self, queue: str, *, paused: bool) -> None:
        """Stop or resume a queue."""
        self.change(queue, paused=paused)

    @rule(queue=queues, limits=st.sampled_from([None, ONE, TWO, SLOW, BOTH]))
    def limit(self, queue: str, limits: Limits | None) -> None:
        """Limit a queue, or let it go."""
        self.change(queue, limits=limits)

    @rule(queue=queues, drain=st.booleans())
    def drain(self, queue: str, *, drain: bool) -> None:
        """Run only what is there, or everything again."""
        self.change(queue, draining=self.model.at if drain else None)

    @rule(queue=queues)
    def set_the_state_of_a_queue_from_another(self, queue: str) -> None:
        """Try to overwrite what somebody else has set."""
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
        """A schedule fires, perhaps also for a due time that has its record already."""
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
        """Look how long there is to sleep."""
        due = self.wait(self.backend.next_due(claim))
        # What was put off and has become due is lined up by the next claim: until then, it counts as due.
        ripe = any(record.created_at < record.scheduled_at <= self.model.at for record in self.model.waiting_for(claim))
        assert (due and max(due, self.model.at)) in {self.model.next_due(claim), self.model.at if ripe else None}

    # ------------------------------------------------------------ what can be seen

    @invariant()
    def both_look_the_same(self) -> None:
        """Every reading verb answers alike."""
        everything = self.model.all()
        pages = self.wait(self.backend.find(RecordFilter(), limit=EVERYTHING, after=UUID(int=0)))
        assert list(pages) == everything
        assert list(self.wait(self.backend.find(RecordFilter(), limit=EVERYTHING))) == everything[::-1]
        owned = self.wait(self.backend.find(RecordFilter(statuses=tuple(OWNED)), limit=EVERYTHING))
        assert in_order(owned) == self.owned()
        assert self.wait(self.backend.statistics()) == self.model.statistics()
        asked = [record for record in everything if record.cancel_requested]
        assert in_order(self.wait(self.backend.cancel_requests())) == asked
        overdue = [record for record in everything if lifecycle.is_overdue(record, at=self.model.at)]
        assert in_order(self.wait(self.backend.overdue(limit=EVERYTHING))) == overdue
        assert {worker.id: worker for worker in self.wait(self.backend.workers())} == self.model.workers
        assert dict(self.wait(self.backend.queues())) == self.model.queues
        assert {state.name: state for state in self.wait(self.backend.schedules())} == self.model.schedules

    # ------------------------------------------------------------ the hands of the machine

    def wait(self, verb: Coroutine[Any, Any, Answer]) -> Answer:
        """Run one verb to its end."""
        return self.loop.run_until_complete(verb)

    def swap(self, swap: Swap) -> None:
        """Swap in both."""
        assert self.wait(self._swapped(swap)) == [self.model.swap(swap)]

    async def _swapped(self, swap: Swap) -> Sequence[bool]:
        return await self.backend.swap([swap])  # Called in the event loop, as it has to be.

    def change(self, queue: str, **changes: object) -> None:
        """Change the state of a queue in both."""
        state = replace(self.model.state(queue), **changes)
        assert self.wait(self.backend.change_queue(queue, **changes)) == state
        if state != self.model.state(queue):
            self.model.queues[queue] = state

    def planned(self, plan: Mapping[str, Any]) -> QueuedTaskRecord:
        """Make a record in the model's time."""
        at = self.model.at
        changes = {name: value for name, value in plan.items() if name not in {"delay", "lifetime", "limited"}}
        changes["concurrency_key"], changes["limits"] = plan["limited"] or (None, None)
        if plan["lifetime"] is not None:
            changes["expires_at"] = at + timedelta(seconds=plan["lifetime"])
        if plan["key"] is None:
            del changes["key_scope"]
        elif plan["key_scope"] is KeyScope.WINDOW:
            changes["key_until"] = at + timedelta(seconds=30)
        # Numbers instead of random ids: Hypothesis wants the same run to come out the same.
        self.planned_so_far += 1
        changes["id"] = UUID(int=self.planned_so_far << 64)
        changes["arguments"] = f'{{"a":{self.planned_so_far}}}'
        return replace(a_record(), created_at=at, scheduled_at=at + timedelta(seconds=plan["delay"]), **changes)

    def settled(self, which: int, step: str) -> Swap:
        """Choose an owned record, and take a step that its status allows."""
        record = self.chosen(self.owned(), which)
        steps = FROM_RUNNING if record.status is TaskStatus.RUNNING else FROM_DISPATCHED
        made = steps.get(step) or steps["cancel"]
        return Swap(record=made(record, self.model.at), epoch=record.epoch)

    def chosen(self, records: list[QueuedTaskRecord], which: int) -> QueuedTaskRecord:
        """Choose one of these."""
        return records[which % len(records)]

    def owned(self) -> list[QueuedTaskRecord]:
        """What somebody works on."""
        return [record for record in self.model.all() if record.status in OWNED]

    def pending(self) -> list[QueuedTaskRecord]:
        """What waits."""
        return [record for record in self.model.all() if record.status is TaskStatus.PENDING]

    def ended(self) -> list[QueuedTaskRecord]:
        """What is over, and may be brought back."""
        return [record for record in self.model.all() if record.has_ended and lifecycle.MOVES[record.status]]


def queue_backend_machine(make: MakeBackend) -> type[QueueBackendMachine]:
    """
    Make the state machine for a backend: *make* is given the clock, and answers with a new, empty backend.

    ``TestStates = queue_backend_machine(lambda clock: MyQueueBackend(clock=clock)).TestCase`` is a test.
    """
    return type("Machine", (QueueBackendMachine,), {"make": staticmethod(make)})


def in_order(records: Sequence[QueuedTaskRecord]) -> list[QueuedTaskRecord]:
    """Put records in the order of their ids."""
    return sorted(records, key=lambda record: record.id.int)
