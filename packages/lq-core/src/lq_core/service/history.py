"""What has ended in each minute, and what people have changed, in stores that keep it."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

from lq_core.queue import Action, Actions, BaseQueueBackend, Rollup, Rollups
from lq_core.queue.rollups import EVERYTHING
from lq_core.tasks.context import storable

ACTIONS_KEPT: Final = timedelta(days=30)


async def read_rollups(
    store: BaseQueueBackend, *, minutes: int, queue: str | None, flush: Callable[[], Awaitable[None]]
) -> Sequence[Rollup]:
    """Read the rollups of the last *minutes*, of one queue or of all; *flush* stores what was counted here."""
    if not isinstance(store, Rollups):
        return ()
    await flush()
    return await store.rollups(queue=queue or EVERYTHING, since=store.now() - timedelta(minutes=minutes))


async def read_actions(store: BaseQueueBackend, *, limit: int) -> Sequence[Action]:
    """Read what people have changed, newest first."""
    return await store.actions(limit=limit) if isinstance(store, Actions) else ()


async def keep_action(store: BaseQueueBackend, action: str, subject: str, *, actor: str) -> None:
    """Keep what somebody has changed, and delete what was kept for long enough."""
    if isinstance(store, Actions):
        at = store.now()
        texts = (storable(text).replace("\0", "") for text in (actor, action, subject))  # PostgreSQL refuses NUL.
        await store.add_action(Action(at, *texts), oldest=at - ACTIONS_KEPT)
