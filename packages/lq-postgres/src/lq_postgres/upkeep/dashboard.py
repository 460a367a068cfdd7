"""What the dashboard shows from the past, the ended records of each minute and the changes by people; its version."""

from collections.abc import Sequence
from datetime import datetime

from lq_core.queue import Action, Rollup
from lq_postgres.connection.driver import Fetch
from lq_postgres.statements import upkeep


async def add_action(fetch: Fetch, action: Action, *, oldest: datetime) -> None:
    """Keep a change, and delete those before *oldest*."""
    _ = await fetch(upkeep.ADD_ACTION, action.at, action.actor, action.action, action.subject, oldest)


async def read_actions(fetch: Fetch, *, limit: int) -> Sequence[Action]:
    """Read the newest changes, newest first."""
    return [Action(*row) for row in await fetch(upkeep.ACTIONS, limit)]


async def read_version(fetch: Fetch) -> str:
    """Read what is the same only while nobody writes to the server."""
    [[snapshot]] = await fetch(upkeep.VERSION)
    return snapshot


async def add_rollups(fetch: Fetch, rollups: Sequence[Rollup], *, oldest: datetime) -> None:
    """Add these numbers to the stored ones, and delete what was before *oldest*."""
    numbers = [f"{{{','.join(map(str, rollup.numbers))}}}" for rollup in rollups]
    keys = [rollup.minute for rollup in rollups], [rollup.queue for rollup in rollups]
    _ = await fetch(upkeep.ADD_ROLLUPS, *keys, numbers)
    _ = await fetch(upkeep.DELETE_ROLLUPS, oldest)


async def read_rollups(fetch: Fetch, *, queue: str, since: datetime) -> Sequence[Rollup]:
    """Read the rollups of a queue, oldest first."""
    return [Rollup.of_numbers(minute, queue, numbers) for minute, numbers in await fetch(upkeep.ROLLUPS, queue, since)]
