"""Logs what a migration waits for, and how far it is, from a second connection."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from logging import INFO, WARNING
from time import monotonic
from typing import Final

from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.driver import Row
from lq_postgres.statements import versions
from lq_postgres.upkeep.schema import Migration

log = event_log("lq.postgres")

INTERVAL: Final = 0.5
"""Seconds between two looks."""

REPEAT: Final = 10.0
"""Seconds after which the same message is logged again."""


class MigrationWatch:
    """Watches the migrations of one process."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._last: tuple[object, float] = (None, 0.0)

    @asynccontextmanager
    async def over(self, migration: Migration, *, process: int) -> AsyncGenerator[None]:
        """Watch a migration that runs in this process of the server."""
        watching = asyncio.create_task(self._watch(migration, process), name="lq.postgres.migration_watch")
        try:
            yield
        finally:
            _ = watching.cancel()
            _ = await asyncio.wait([watching])  # This raises nothing of the watch, and not its cancellation.

    async def look_for_another(self, migration: Migration) -> None:
        """Say which other process migrates."""
        self._waits(migration, await self._connections.fetch(versions.WHO_MIGRATES))

    async def _watch(self, migration: Migration, process: int) -> None:
        with suppress(StorageError):  # The migration goes on without it.
            while True:
                await asyncio.sleep(INTERVAL)
                self._waits(migration, await self._connections.fetch(versions.WHO_BLOCKS, process))
                for index, phase, percent in await self._connections.fetch(versions.HOW_FAR, process):
                    facts = {"index": index, "phase": phase, "percent": percent and round(percent)}
                    self._tell(INFO, "schema.progress", migration, facts, news=(index, phase))

    def _waits(self, migration: Migration, rows: Sequence[Row]) -> None:
        for lock, pid, role, application, state, seconds in rows:
            facts = {"lock": lock, "pid": pid, "role": role, "application": application or None, "state": state}
            facts["seconds"] = seconds and round(seconds, 1)
            self._tell(WARNING, "schema.waiting", migration, facts, news=(lock, pid))

    def _tell(
        self, level: int, event: str, migration: Migration, facts: Mapping[str, object], *, news: tuple[object, ...]
    ) -> None:
        before, told_at = self._last
        if news != before or monotonic() - told_at >= REPEAT:
            self._last = (news, monotonic())
            log.log(level, event, extra={"migration": f"{migration.number:04}_{migration.name}", **facts})
