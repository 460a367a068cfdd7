"""
A queue backend and the plain model side by side: each step is taken by both, and both look the same afterwards.

The backend has to judge time by the clock that it is given.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID

from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant
from msgspec.structs import replace

from lq_core.contracts.queue.reference_model import QueueModel
from lq_core.contracts.queue.swaps import FROM_DISPATCHED, FROM_RUNNING
from lq_core.contracts.records import a_record, a_worker
from lq_core.queue import BaseQueueBackend, RecordFilter, Swap
from lq_core.records import lifecycle
from lq_core.records.record import OWNED, KeyScope, QueuedTaskRecord, TaskStatus

Answer = TypeVar("Answer")
MakeBackend = Callable[[Callable[[], datetime]], BaseQueueBackend]

WORKERS: Final = ("ada", "bob")
EVERYTHING: Final = 10_000


class BackendBesideModel(RuleBasedStateMachine):
    """One backend and its model, what both do alike, and the comparison of what they show."""

    make: ClassVar[MakeBackend]

    def __init__(self) -> None:
        super().__init__()
        self.model = QueueModel()
        self.planned_so_far = 0
        self.loop = asyncio.new_event_loop()
        self.backend = type(self).make(lambda: self.model.at)

    @initialize()
    def open(self) -> None:
        """Start with an open, empty backend and two workers."""
        self.wait(self.backend.open())
        for name in WORKERS:
            self.register_worker(name)

    def teardown(self) -> None:
        """Close the backend."""
        self.wait(self.backend.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def register_worker(self, name: str) -> None:
        """Register a worker with both."""
        worker = replace(a_worker(name), started_at=self.model.at)
        self.wait(self.backend.register(worker))
        self.model.workers[name] = replace(worker, seen_at=self.model.at)

    # ------------------------------------------------------------ comparisons

    @invariant()
    def both_look_the_same(self) -> None:
        """Every method that reads gives the same answer."""
        everything = self.model.all()
        pages = self.wait(self.backend.find(RecordFilter(), limit=EVERYTHING, after=UUID(int=0)))
        assert list(pages) == everything
        assert list(self.wait(self.backend.find(RecordFilter(), limit=EVERYTHING))) == everything[::-1]
        owned = self.wait(self.backend.find(RecordFilter(statuses=tuple(OWNED)), limit=EVERYTHING))
        assert in_order(owned) == self.owned()
        assert self.wait(self.backend.statistics()) == self.model.statistics()
        for status in TaskStatus:
            condition = RecordFilter(statuses=(status,))
            assert self.wait(self.backend.count(condition)) == sum(map(condition.matches, everything))
        for worker_id in {record.worker_id for record in everything if record.worker_id}:
            assert in_order(self.wait(self.backend.owned(worker_id))) == self.model.owned(worker_id)
        asked = [record for record in everything if record.cancel_requested]
        assert in_order(self.wait(self.backend.cancel_requests())) == asked
        overdue = [record for record in everything if lifecycle.is_overdue(record, at=self.model.at)]
        assert in_order(self.wait(self.backend.overdue(limit=EVERYTHING))) == overdue
        assert {worker.id: worker for worker in self.wait(self.backend.workers())} == self.model.workers
        assert dict(self.wait(self.backend.queues())) == self.model.queues
        assert {state.name: state for state in self.wait(self.backend.schedules())} == self.model.schedules
        assert {name: self.wait(self.backend.schedule(name)) for name in self.model.schedules} == self.model.schedules

    # ------------------------------------------------------------ helpers

    def wait(self, call: Coroutine[Any, Any, Answer]) -> Answer:
        """Run one call to its end."""
        return self.loop.run_until_complete(call)

    def swap(self, swap: Swap) -> None:
        """Swap in both."""
        assert self.wait(self._swapped(swap)) == [self.model.swap(swap)]

    async def _swapped(self, swap: Swap) -> Sequence[bool]:
        return await self.backend.swap([swap])  # swap must be called in the event loop.

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
        # Numbers instead of random ids, because Hypothesis needs reproducible runs.
        self.planned_so_far += 1
        changes["id"] = UUID(int=self.planned_so_far << 64)
        changes["arguments"] = f'{{"a":{self.planned_so_far}}}'
        return replace(a_record(), created_at=at, scheduled_at=at + timedelta(seconds=plan["delay"]), **changes)

    def settled(self, which: int, step: str) -> Swap:
        """Choose an owned record, and apply a step that its status allows."""
        record = self.chosen(self.owned(), which)
        steps = FROM_RUNNING if record.status is TaskStatus.RUNNING else FROM_DISPATCHED
        made = steps.get(step) or steps["cancel"]
        return Swap(record=made(record, self.model.at), epoch=record.epoch)

    def chosen(self, records: list[QueuedTaskRecord], which: int) -> QueuedTaskRecord:
        """Choose one of these."""
        return records[which % len(records)]

    def owned(self) -> list[QueuedTaskRecord]:
        """The dispatched and running records."""
        return [record for record in self.model.all() if record.status in OWNED]

    def pending(self) -> list[QueuedTaskRecord]:
        """The pending records."""
        return [record for record in self.model.all() if record.status is TaskStatus.PENDING]

    def ended(self) -> list[QueuedTaskRecord]:
        """The ended records that can be retried by hand."""
        return [record for record in self.model.all() if record.has_ended and lifecycle.MOVES[record.status]]


def in_order(records: Sequence[QueuedTaskRecord]) -> list[QueuedTaskRecord]:
    """Put records in the order of their ids."""
    return sorted(records, key=lambda record: record.id.int)
