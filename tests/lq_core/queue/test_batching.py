"""What waits while a batch is under way leaves together with the next."""

import asyncio
from collections.abc import Sequence

from lq_core import QueuedTaskRecord, StorageError
from lq_core.queue import Claim, Claimed, Swap
from lq_core.queue.batching import ClaimMerger, GroupCommit
from lq_core.testing import a_claim, a_record


async def test_who_is_answered_and_asks_again_is_part_of_the_next_batch() -> None:
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


async def test_who_is_patient_is_answered_when_the_next_batch_is_on_its_way() -> None:
    happened: list[str] = []

    async def flush(items: Sequence[str]) -> Sequence[str]:
        happened.extend(f"{item} leaves" for item in items)
        await asyncio.sleep(0)
        return items

    commit = GroupCommit(flush)

    async def be_patient() -> None:
        _ = await commit.submit_patiently(["patient"])
        happened.append("patient is answered")

    async def go_on() -> None:
        _ = await commit.submit(["first"])
        _ = await commit.submit(["second"])

    _ = await asyncio.gather(be_patient(), go_on())

    assert happened == ["patient leaves", "first leaves", "second leaves", "patient is answered"]


async def test_who_is_patient_and_gives_up_after_all_disturbs_nobody() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def flush(items: Sequence[str]) -> Sequence[str]:
        return items

    commit = GroupCommit(flush)
    patient = commit.submit_patiently(["patient"])
    _ = await commit.submit(["hasty"])
    assert not patient.done()

    _ = patient.cancel()
    _ = await commit.submit_patiently(["next"])

    assert complaints == []


async def test_what_a_claim_has_brought_may_end_before_those_settled_with_it_are_answered() -> None:
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


async def test_a_claim_that_fails_takes_nothing_from_the_others_of_its_batch() -> None:
    taken = Claimed(records=(a_record(),))

    async def settle_and_claim(swaps: Sequence[Swap], claim: Claim | None) -> tuple[Sequence[bool], Claimed]:
        if claim is not None and claim.worker_id == "bob":
            raise StorageError("The connection was cut.")
        return [True for _ in swaps], taken

    claims = ClaimMerger(settle_and_claim)

    assert await asyncio.gather(claims.claim(a_claim("ada")), claims.claim(a_claim("bob"))) == [taken, Claimed()]
