"""The contract of queue backends for swaps: kept while the epoch matches, refused afterwards."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_claim, a_record, a_swap, claimed
from lq_core.foundation.errors import OwnershipLostError
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import lifecycle
from lq_core.records.identity import new_id
from lq_core.records.record import Progress, QueuedTaskRecord, TaskFailure, TaskStatus

FAILURE: Final = TaskFailure(type="ValueError", message="no", traceback="line 1")

Step = Callable[[QueuedTaskRecord, datetime], QueuedTaskRecord]

FROM_RUNNING: Final[Mapping[str, Step]] = MappingProxyType(
    {
        "complete": lambda record, at: lifecycle.complete(record, result='{"a":[1,"ü"]}', at=at),
        "retry": lambda record, at: lifecycle.retry_or_fail(record, failure=FAILURE, delay=9.5, at=at),
        "fail": lambda record, at: lifecycle.retry_or_fail(record, failure=FAILURE, delay=None, at=at),
        "snooze": lambda record, at: lifecycle.snooze(record, delay=0.000_001, at=at, message="later"),
        "interrupt": lambda record, at: lifecycle.interrupt(record, at=at),
        "lose": lambda record, at: lifecycle.lose(record, failure=FAILURE, at=at, delay=3),
        "release": lambda record, at: lifecycle.release_claim(record, delay=3, at=at),
        "cancel": lambda record, at: lifecycle.cancel(record, at=at, failure=FAILURE),
    }
)
"""Every step that ends the ownership of a running record."""

FROM_DISPATCHED: Final[Mapping[str, Step]] = MappingProxyType(
    {
        "claim": lambda record, at: lifecycle.claim(record, worker_id="container", at=at),
        "release": lambda record, at: lifecycle.release(record, at=at, delay=5),
        "reroute": lambda record, at: lifecycle.reroute(record, execution_backend="local", at=at, message="no"),
        "lose": lambda record, at: lifecycle.lose(record, failure=FAILURE, at=at),
        "cancel": lambda record, at: lifecycle.cancel(record, at=at),
    }
)
"""Every step that ends a reservation."""


class SwapContract:
    """Swaps."""

    @pytest.mark.parametrize("step", FROM_RUNNING.values(), ids=FROM_RUNNING.keys())
    async def test_every_step_from_running_is_kept_whole(self, queue: BaseQueueBackend, step: Step) -> None:
        """What is stored afterwards is what the step made."""
        (running,) = await claimed(queue, a_record(retries=1, key="one", metadata={"a": "b"}))
        settled = step(running, queue.now())

        assert await queue.swap([a_swap(settled)]) == [True]

        assert await queue.get(running.id) == settled

    @pytest.mark.parametrize("step", FROM_DISPATCHED.values(), ids=FROM_DISPATCHED.keys())
    async def test_every_step_from_dispatched_is_kept_whole(self, queue: BaseQueueBackend, step: Step) -> None:
        """What is stored afterwards is what the step made."""
        (reserved,) = await claimed(queue, a_record(execution_profile="large"), to=TaskStatus.DISPATCHED)
        settled = step(reserved, queue.now())

        assert await queue.swap([a_swap(settled)]) == [True]

        assert await queue.get(reserved.id) == settled

    async def test_a_second_swap_from_one_epoch_is_refused(self, queue: BaseQueueBackend) -> None:
        """Of two owners, only one writes."""
        (running,) = await claimed(queue, a_record())
        completed = lifecycle.complete(running, result="1", at=queue.now())
        cancelled = lifecycle.cancel(running, at=queue.now())

        assert await queue.swap([a_swap(completed)]) == [True]
        assert await queue.swap([a_swap(cancelled)]) == [False]

        assert await queue.get(running.id) == completed

    async def test_of_two_swaps_in_one_batch_the_first_is_kept(self, queue: BaseQueueBackend) -> None:
        """A batch is judged swap by swap."""
        (running,) = await claimed(queue, a_record())
        completed = lifecycle.complete(running, result="1", at=queue.now())
        cancelled = lifecycle.cancel(running, at=queue.now())

        kept, _ = await queue.settle_and_claim([a_swap(completed), a_swap(cancelled)], None)

        assert list(kept) == [True, False]
        assert await queue.get(running.id) == completed

    async def test_a_refused_swap_does_not_hold_up_the_others(self, queue: BaseQueueBackend) -> None:
        """The answers stand in the order of the swaps."""
        running = await claimed(queue, *[a_record() for _ in range(4)])
        steps = [lifecycle.complete(record, result="1", at=queue.now()) for record in running]
        swaps = [a_swap(steps[0]), Swap(record=steps[1], epoch=7), a_swap(steps[2]), a_swap(steps[3])]

        kept, _ = await queue.settle_and_claim(swaps, None)

        assert list(kept) == [True, False, True, True]
        assert await queue.get(running[1].id) == running[1]

    async def test_a_swap_of_an_unknown_record_is_refused(self, queue: BaseQueueBackend) -> None:
        """A swap of a deleted record is refused like one with an old epoch."""
        stranger = lifecycle.claim(a_record(id=new_id()), worker_id="ada", at=queue.now())

        assert await queue.swap([a_swap(stranger)]) == [False]
        assert await queue.get(stranger.id) is None

    async def test_swaps_are_settled_before_the_claim(self, queue: BaseQueueBackend) -> None:
        """One round trip ends the old records and brings the new ones."""
        (running,) = await claimed(queue, a_record())
        waiting = a_record()
        await queue.insert([waiting])
        completed = lifecycle.complete(running, result="1", at=queue.now())

        kept, answer = await queue.settle_and_claim([a_swap(completed)], a_claim())

        assert (list(kept), [record.id for record in answer.records]) == ([True], [waiting.id])

    async def test_an_owner_writes_progress_under_its_own_epoch(self, queue: BaseQueueBackend) -> None:
        """A swap to the same epoch keeps the owner."""
        (running,) = await claimed(queue, a_record())
        further = replace(running, progress=Progress(done=1, total=2))

        assert await queue.swap([Swap(record=further, epoch=running.epoch)]) == [True]
        assert await queue.get(running.id) == further
        assert await queue.swap([a_swap(lifecycle.complete(further, result="1", at=queue.now()))]) == [True]

    async def test_an_execution_reference_is_attached_under_its_epoch(self, queue: BaseQueueBackend) -> None:
        """It is stored as long as the reservation lasts."""
        (reserved,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        attached = lifecycle.attach(reserved, execution_ref="executions/1", log_url="https://example.org")

        assert await queue.swap([Swap(record=attached, epoch=reserved.epoch)]) == [True]
        assert await queue.get(reserved.id) == attached

    async def test_claiming_one_of_an_old_epoch_is_refused(self, queue: BaseQueueBackend) -> None:
        """A late container does not start the record again."""
        (reserved,) = await claimed(queue, a_record(), to=TaskStatus.DISPATCHED)
        await queue.claim_one(reserved.id, reserved.epoch, worker_id="first")

        with pytest.raises(OwnershipLostError):
            await queue.claim_one(reserved.id, reserved.epoch, worker_id="second")

    async def test_a_again_record_is_claimed_again(self, queue: BaseQueueBackend) -> None:
        """A retry by hand makes an ended record pending again."""
        (running,) = await claimed(queue, a_record())
        ended = lifecycle.cancel(running, at=queue.now())
        await queue.swap([a_swap(ended)])
        again = lifecycle.retry(ended, at=queue.now() - timedelta(seconds=1))

        await queue.swap([a_swap(again)])

        assert [record.id for record in (await queue.claim(a_claim())).records] == [running.id]
