"""One timer for all deadlines: whoever is late is told, in whatever order the deadlines came, and nobody else."""

import asyncio

from lq_core.attempts.deadlines import Deadlines


async def test_an_earlier_deadline_that_comes_later_is_kept_in_time() -> None:
    deadlines, told = Deadlines(), asyncio.Event()
    deadlines.add("ada", 3600, lambda: None)
    deadlines.add("bob", 0.01, told.set)

    async with asyncio.timeout(10):
        await told.wait()
    deadlines.close()


async def test_after_one_deadline_the_next_is_kept_as_well() -> None:
    deadlines, order, told = Deadlines(), list[str](), asyncio.Event()
    deadlines.add("first", 0.01, lambda: order.append("first"))
    deadlines.add("second", 0.02, told.set)

    async with asyncio.timeout(10):
        await told.wait()

    assert order == ["first"]


async def test_who_withdraws_is_not_told() -> None:
    deadlines, late, told = Deadlines(), list[str](), asyncio.Event()
    deadlines.add("withdrawn", 0.01, lambda: late.append("withdrawn"))
    deadlines.add("other", 0.02, told.set)
    deadlines.withdraw("withdrawn")

    async with asyncio.timeout(10):
        await told.wait()

    assert late == []
