"""The contract of queue backends for the steps of a task: stored by the owner alone, and there for the next attempt."""

from typing import Final

from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, claimed
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import lifecycle, steps
from lq_core.records.history import MAX_HISTORY, STEP
from lq_core.records.record import QueuedTaskRecord, TaskFailure

RESULT: Final = '{"text":"ü \\u0000 \\"","number":1.0}'
LOST: Final = TaskFailure(type="WorkerLost", message="It died.")


def _kept(queue: BaseQueueBackend, record: QueuedTaskRecord, name: str) -> QueuedTaskRecord:
    return steps.keep(record, STEP, name, RESULT, at=queue.now(), most_bytes=10_000)


class StepContract:
    """Steps."""

    async def test_the_next_attempt_gets_the_steps_of_the_earlier_ones(self, queue: BaseQueueBackend) -> None:
        """A step outlives the loss of its worker, and more events than the history takes."""
        (running,) = await claimed(queue, a_record())
        for name in ("reserve", "charge 😀"):
            running = _kept(queue, running, name)
            assert await queue.swap([Swap(record=running, epoch=running.epoch)]) == [True]
        for _ in range(MAX_HISTORY + 1):
            running = replace(lifecycle.lose(running, failure=LOST, at=queue.now()), losses=0)
            assert await queue.swap([a_swap(running)]) == [True]
            ((running),) = (await queue.claim(a_claim())).records

        assert steps.kept(running, STEP) == {"reserve": RESULT, "charge 😀": RESULT}

    async def test_a_worker_that_has_lost_its_record_stores_no_step(self, queue: BaseQueueBackend) -> None:
        """The epoch of the owner counts, also while a new owner runs the record."""
        (first,) = await claimed(queue, a_record())
        assert await queue.swap([a_swap(lifecycle.lose(first, failure=LOST, at=queue.now()))]) == [True]
        (second,) = (await queue.claim(a_claim())).records

        late = _kept(queue, first, "charge")
        assert await queue.swap([Swap(record=late, epoch=late.epoch)]) == [False]

        assert await queue.get(second.id) == second
