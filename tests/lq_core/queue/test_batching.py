"""What waits while a batch is under way leaves together with the next."""

import asyncio
from collections.abc import Sequence

from lq_core.queue.batching import GroupCommit


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
