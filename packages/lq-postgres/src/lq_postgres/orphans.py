"""Running records whose worker is gone, and the rows of dead workers, by which they are found."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from lq_core.record import QueuedTaskRecord
from lq_postgres.connections import WHOLE, Connections
from lq_postgres.rows import records_from
from lq_postgres.statements import upkeep


async def find_orphans(
    connections: Connections, *, at: datetime | None, timeout: float, limit: int
) -> Sequence[QueuedTaskRecord]:
    """Declare workers dead unheard of for *timeout* seconds, and read what they were running; who ran nothing goes."""
    _ = await connections.fetch(upkeep.DECLARE_DEAD, at, timeout)
    dead = [row[0] for row in await connections.fetch(upkeep.DEAD)]
    if not dead:  # There is no index by worker: it would cost every claim, to help this.
        return []
    found = records_from(await connections.read_whole(upkeep.ORPHANS, dead, limit))
    if not found:
        async with connections.transaction(times=WHOLE) as fetch:
            held = [row[0] for row in await fetch(upkeep.HOLD_DEAD, dead)]
            _ = await fetch(upkeep.FORGET, held)
    return found


async def know(connections: Connections, workers: Iterable[str | None]) -> None:
    """Let every worker that a running record names have a row, so that the record is found when it is gone."""
    names = [name for name in workers if name is not None]
    if names:
        _ = await connections.fetch(upkeep.KNOW, names)
