"""The contract of queue backends for the steps of a task, and for signals: the next attempt finds them."""

from typing import Final

from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import lifecycle, steps
from lq_core.records.history import MAX_HISTORY, SIGNAL, STEP
from lq_core.records.record import QueuedTaskRecord, TaskFailure

RESULT: Final = '{"text":"ü \\u0000 \\"","number":1.0}'
LOST: Final = TaskFailure(type="WorkerLost", message="It died.")


def _kept(queue: BaseQueueBackend, record: QueuedTaskRecord, name: str) -> QueuedTaskRecord:
    return steps.keep(record, STEP, name, RESULT, at=queue.now(), most_bytes=10_000)


def _given(queue: BaseQueueBackend, record: QueuedTaskRecord, signal: str) -> QueuedTaskRecord:
    return steps.give(record, signal, RESULT, at=queue.now(), most_bytes=10_000)


class StepContract:
    """Steps and signals."""

    async def test_the_next_attempt_gets_the_steps_of_the_earlier_ones(self, queue: BaseQueueBackend) -> None:
        """A step outlives the loss of its worker, and more events than the history takes."""
        (running,) = await claimed(queue, a_record())
        for name in ("reserve", "charge 😀"):
            running = _kept(queue, running, name)
            assert await queue.swap([Swap(record=running, epoch=running.epoch)]) == [True]
        for _ in range(MAX_HISTORY + 1):
            running = replace(lifecycle.lose(running, failure=LOST, at=queue.now()), losses=0)
            assert await queue.swap([a_swap(running)]) == [True]
            (running,) = (await queue.claim(a_claim())).records

        assert steps.kept(running, STEP) == {"reserve": RESULT, "charge 😀": RESULT}

    async def test_a_worker_that_has_lost_its_record_stores_no_step(self, queue: BaseQueueBackend) -> None:
        """The epoch of the owner counts, also while a new owner runs the record."""
        (first,) = await claimed(queue, a_record())
        assert await queue.swap([a_swap(lifecycle.lose(first, failure=LOST, at=queue.now()))]) == [True]
        (second,) = (await queue.claim(a_claim())).records

        late = _kept(queue, first, "charge")
        assert await queue.swap([Swap(record=late, epoch=late.epoch)]) == [False]

        assert await queue.get(second.id) == second

    async def test_a_signal_starts_the_record_that_waits_for_it(self, queue: BaseQueueBackend) -> None:
        """The record is not claimed before, and keeps its signal."""
        (running,) = await claimed(queue, a_record(metadata={"a": "b"}))
        waiting = steps.wait(running, "approved", timeout=None, at=queue.now())
        assert await queue.swap([a_swap(waiting)]) == [True]
        assert (await queue.claim(a_claim())).records == ()
        given = _given(queue, waiting, "approved")

        assert await queue.swap_waiting([a_swap(given)]) == [True]

        assert await queue.get(running.id) == given
        (again,) = (await queue.claim(a_claim())).records
        assert steps.kept(again, SIGNAL) == {"approved": RESULT}

    async def test_of_two_signals_at_once_none_is_lost(self, queue: BaseQueueBackend) -> None:
        """The second one is refused, and sent again to the record as it is then."""
        (running,) = await claimed(queue, a_record())
        waiting = steps.wait(running, "approved", timeout=60, at=queue.now())
        assert await queue.swap([a_swap(waiting)]) == [True]
        first, second = _given(queue, waiting, "paid"), _given(queue, waiting, "approved")

        assert await queue.swap_waiting([a_swap(first), a_swap(second)]) == [True, False]
        assert (await queue.claim(a_claim())).records == ()
        assert await queue.swap_waiting([a_swap(_given(queue, first, "approved"))]) == [True]

        (again,) = (await queue.claim(a_claim())).records
        assert steps.kept(again, SIGNAL).keys() == {"paid", "approved"}
