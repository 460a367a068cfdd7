"""The contract of queue backends that keep rollups; a backend that keeps none passes."""

from datetime import UTC, datetime, timedelta

from lq_core.queue import BaseQueueBackend, Rollup, Rollups
from lq_core.queue.rollups import BUCKETS, EVERYTHING

MINUTE = datetime(2026, 3, 1, 12, tzinfo=UTC)


def a_rollup(queue: str = EVERYTHING, *, minute: int = 0, completed: int = 1) -> Rollup:
    """Make the rollup of a minute in which this many records completed, some of them after a wait."""
    return Rollup(
        minute=MINUTE + timedelta(minutes=minute),
        queue=queue,
        counts=(0, completed, 0, 2),
        waits=(completed, *[0] * (BUCKETS - 1)),
        runs=(*[0] * (BUCKETS - 1), completed),
    )


class RollupContract:
    """Numbers of the same minute and queue are added."""

    async def test_rollups_are_added_and_read_in_order(self, queue: BaseQueueBackend) -> None:
        """Each process adds its own numbers."""
        if not isinstance(queue, Rollups):
            return
        oldest = MINUTE - timedelta(days=1)

        await queue.add_rollups([a_rollup(minute=1), a_rollup(), a_rollup("mail", completed=5)], oldest=oldest)
        await queue.add_rollups([a_rollup(completed=10)], oldest=oldest)
        await queue.add_rollups([], oldest=oldest)

        [first, second] = await queue.rollups(queue=EVERYTHING, since=MINUTE)
        assert first == Rollup(
            minute=MINUTE, counts=(0, 11, 0, 4), waits=(11, *[0] * (BUCKETS - 1)), runs=(*[0] * (BUCKETS - 1), 11)
        )
        assert second == a_rollup(minute=1)
        assert list(await queue.rollups(queue=EVERYTHING, since=MINUTE + timedelta(minutes=1))) == [second]
        assert list(await queue.rollups(queue="mail", since=MINUTE)) == [a_rollup("mail", completed=5)]
        assert list(await queue.rollups(queue="film", since=MINUTE)) == []

    async def test_old_rollups_are_deleted(self, queue: BaseQueueBackend) -> None:
        """So that their number has a bound."""
        if not isinstance(queue, Rollups):
            return
        await queue.add_rollups([a_rollup(), a_rollup(minute=1)], oldest=MINUTE)

        await queue.add_rollups([a_rollup(minute=2)], oldest=MINUTE + timedelta(minutes=1))

        found = await queue.rollups(queue=EVERYTHING, since=MINUTE)
        assert [rollup.minute for rollup in found] == [MINUTE + timedelta(minutes=number) for number in (1, 2)]
