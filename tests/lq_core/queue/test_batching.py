"""Callers that wait while a batch runs share the next batch."""

import asyncio
from collections.abc import Sequence

from lq_core import QueuedTaskRecord, StorageError
from lq_core.contracts import a_claim, a_record
from lq_core.queue import Claim, Claimed, Swap
from lq_core.queue.batching import ClaimMerger, GroupCommit


async def test_a_caller_that_was_just_answered_joins_the_next_batch() -> None:
    batches: list[Sequence[str]] = []
    under_way, answered = asyncio.Event(), asyncio.Event()

    async def flush(items: Sequence[str]) -> Sequence[str]:
        batches.append(items)
        under_way.set()
        _ = await answered.wait()
        return items

    commit = GroupCommit(flush)

    async def ask_twice() -> None:
        _ = await commit.submit(["first"])
        _ = await commit.submit(["second"])

    async def ask_meanwhile() -> None:
        _ = await under_way.wait()
        answered.set()
        _ = await commit.submit(["meanwhile"])

    _ = await asyncio.gather(ask_twice(), ask_meanwhile())

    assert batches == [["first"], ["meanwhile", "second"]]


async def test_a_patient_caller_is_answered_after_the_next_batch_has_started() -> None:
    happened: list[str] = []

    async def flush(items: Sequence[str]) -> Sequence[str]:
        happened.extend(f"{item} leaves" for item in items)
        await asyncio.sleep(0)
        return items

    commit = GroupCommit(flush)

    async def be_patient() -> None:
        _ = await commit.submit(["patient"], patient=True)
        happened.append("patient is answered")

    async def go_on() -> None:
        _ = await commit.submit(["first"])
        _ = await commit.submit(["second"])

    _ = await asyncio.gather(be_patient(), go_on())

    assert happened == ["patient leaves", "first leaves", "second leaves", "patient is answered"]


async def test_a_patient_caller_may_cancel_its_wait() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def flush(items: Sequence[str]) -> Sequence[str]:
        return items

    commit = GroupCommit(flush)
    patient = commit.submit(["patient"], patient=True)
    _ = await commit.submit(["hasty"])
    assert not patient.done()

    _ = patient.cancel()
    _ = await commit.submit(["next"], patient=True)

    assert complaints == []


async def test_claimed_records_may_end_before_the_records_settled_with_them_are_answered() -> None:
    happened: list[str] = []
    ending, brought = a_record(task_name="ending"), a_record(task_name="brought")

    async def settle_and_claim(swaps: Sequence[Swap], _: Claim | None) -> tuple[Sequence[bool], Claimed]:
        happened.extend(f"{swap.record.task_name} leaves" for swap in swaps)
        return [True for _ in swaps], Claimed(records=(brought,))

    claims = ClaimMerger(settle_and_claim)

    async def end(record: QueuedTaskRecord) -> None:
        _ = await claims.swap([Swap(record=record, epoch=record.epoch)])
        happened.append(f"{record.task_name} is answered")

    async def work() -> None:
        begun = [asyncio.create_task(end(record)) for record in (await claims.claim(a_claim())).records]
        _ = await asyncio.gather(*begun)

    _ = await asyncio.gather(end(ending), work())

    assert happened == ["ending leaves", "brought leaves", "ending is answered", "brought is answered"]


async def test_a_failed_claim_does_not_affect_the_others_of_its_batch() -> None:
    taken = Claimed(records=(a_record(),))

    async def settle_and_claim(swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        if claim is not None and claim.worker_id == "bob":
            raise StorageError("The connection was cut.")
        return [True for _ in swaps], taken

    claims = ClaimMerger(settle_and_claim)

    assert await asyncio.gather(claims.claim(a_claim("ada")), claims.claim(a_claim("bob"))) == [
        taken,
        Claimed(uncertain=True),
    ]


async def test_a_claim_that_was_cancelled_before_its_batch_left_takes_nothing() -> None:
    left: list[str | None] = []
    under_way, answered = asyncio.Event(), asyncio.Event()

    async def settle_and_claim(swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        left.append(claim and claim.worker_id)
        under_way.set()
        await answered.wait()
        return [True for _ in swaps], Claimed(records=(a_record(),))

    claims, ending = ClaimMerger(settle_and_claim), a_record()
    first = asyncio.create_task(claims.claim(a_claim("ada")))
    await under_way.wait()
    swapped = claims.swap([Swap(record=ending, epoch=ending.epoch)])
    cancelled = [asyncio.create_task(claims.claim(a_claim(worker_id))) for worker_id in ("bob", "cid")]
    others = [asyncio.create_task(claims.claim(a_claim(worker_id))) for worker_id in ("dan", "eve")]
    await asyncio.sleep(0)

    for claim in cancelled:
        claim.cancel()
    await asyncio.wait(cancelled)
    answered.set()
    await asyncio.gather(first, *others)

    assert left == ["ada", "dan", "eve"]
    assert await swapped == [True]


async def test_a_batch_whose_only_claim_was_cancelled_settles_and_takes_nothing() -> None:
    left: list[Claim | None] = []

    async def settle_and_claim(swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        left.append(claim)
        return [True for _ in swaps], Claimed()

    claims, ending = ClaimMerger(settle_and_claim), a_record()
    cancelled = asyncio.ensure_future(claims.claim(a_claim()))
    asyncio.get_running_loop().call_soon(cancelled.cancel)
    swapped = claims.swap([Swap(record=ending, epoch=ending.epoch)])

    assert await swapped == [True]
    assert (left, cancelled.cancelled()) == ([None], True)
