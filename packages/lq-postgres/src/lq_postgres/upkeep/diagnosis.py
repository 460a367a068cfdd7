"""The checks of ``lq doctor`` for PostgreSQL."""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from lq_core.foundation.errors import StorageError
from lq_core.queue import Finding
from lq_postgres.connection.clock import DatabaseClock
from lq_postgres.connection.connections import Connections
from lq_postgres.connection.faults import MIGRATE
from lq_postgres.connection.listener import Listener
from lq_postgres.connection.session import timeouts
from lq_postgres.statements import upkeep
from lq_postgres.upkeep.schema import Schema, migrations

LONG_TRANSACTION: Final = 60.0
MANY_DEAD: Final = 100_000
CLOCKS_APART: Final = 1.0
FULL: Final = 0.9
"""A warning if this share of the server's connections is in use."""

HALF_FULL: Final = 0.5
"""A warning if this share of the NOTIFY queue of the server is in use."""

HARMFUL: Final = {"default_transaction_read_only": "on", "synchronous_commit": "off"}
"""Values with which nothing can be stored, or what has been stored can be lost with the server."""

_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (?P<name>\w+)\s+ON \S+\.records [^;]*;")


class Diagnosis:
    """The checks, one method for each."""

    def __init__(self, connections: Connections, *, clock: DatabaseClock, listener: Listener | None) -> None:
        self._connections = connections
        self._clock = clock
        self._listener = listener

    async def all(self) -> Sequence[Finding]:
        """Run every check. If the schema is out of date, report only that."""
        schema = await self.schema()
        if schema.advice is not None:
            return [schema]
        return [
            schema,
            await self.oldest_transaction(),
            await self.dead_rows(),
            await self.indexes(),
            await self.listening(),
            await self.notification_queue(),
            self.clocks(),
            self.pool(),
            await self.connected(),
            await self.settings(),
        ]

    async def schema(self) -> Finding:
        """Check that the database has every migration of this version."""
        async with self._connections.transaction() as fetch:
            schema = Schema(fetch, self._connections.config.schema)
            pending, version = await schema.pending(), await schema.version()
        found = f"migration {version}, {len(pending)} missing" if pending else f"migration {version}"
        return Finding.of("schema", found, advice=f"Run: {MIGRATE}" if pending else None)

    async def oldest_transaction(self) -> Finding:
        """Check for a long transaction, which keeps vacuum from removing dead rows."""
        rows = await self._connections.fetch(upkeep.OLDEST_TRANSACTION)
        if not rows:
            return Finding.of("oldest transaction", "none is open")
        [[seconds, pid, name, state]] = rows
        found = f"open for {seconds or 0:.0f} s: process {pid}, {name or 'unnamed'}, {state}"
        advice = (
            f"Claims get slower while it is open. End it: SELECT pg_terminate_backend({pid}); "
            "Set idle_in_transaction_session_timeout, and the server ends such transactions by itself."
        )
        return Finding.of("oldest transaction", found, advice=advice if (seconds or 0) > LONG_TRANSACTION else None)

    async def dead_rows(self) -> Finding:
        """Check that vacuum keeps up."""
        [[dead, live, vacuumed]] = await self._connections.fetch(upkeep.DEAD_ROWS)
        found = f"{dead:,} dead, {live:,} live; last autovacuum: {vacuumed or 'never'}"
        name = self._connections.config.schema
        advice = f'End the oldest transaction first, then run: VACUUM ANALYZE "{name}".records'
        return Finding.of("dead rows", found, advice=advice if dead > max(MANY_DEAD, live) else None)

    async def indexes(self) -> Finding:
        """Check that every index exists and is valid."""
        name = self._connections.config.schema
        wanted = {found["name"]: found[0] for migration in migrations(name) for found in _INDEX.finditer(migration.sql)}
        missing = sorted(wanted.keys() - {row[0] for row in await self._connections.fetch(upkeep.INDEXES)})
        if not missing:
            return Finding.of("indexes", f"all {len(wanted)} exist")
        advice = " ".join(f'DROP INDEX IF EXISTS "{name}".{index}; {wanted[index]}' for index in missing)
        return Finding.of("indexes", f"missing: {', '.join(missing)}", advice=f"Run: {advice}")

    async def listening(self) -> Finding:
        """Check that notifications arrive; if this process waits for none, send one to try."""
        if self._listener is None:
            return Finding.of("listener", "off: records are found by polling")
        with suppress(StorageError):
            if await self._listener.try_out():
                return Finding.of("listener", "receives notifications")
        advice = "Behind PgBouncer, set PostgresConfig(listen_dsn=...) to the server's own address, or poll_only=True."
        return Finding.of("listener", "down: records are found by polling", advice=advice)

    async def notification_queue(self) -> Finding:
        """Check that the server has room for notifications; without, statements that notify fail."""
        [[share, pid]] = await self._connections.fetch(upkeep.NOTIFICATION_QUEUE)
        advice = (
            "A session that listens keeps a transaction open, so the server keeps all notifications since. "
            f"End it: SELECT pg_terminate_backend({'pid' if pid is None else pid});"
        )
        return Finding.of("notification queue", f"{share:.0%} full", advice=advice if share > HALF_FULL else None)

    def clocks(self) -> Finding:
        """Compare this machine's clock with the clock of the database."""
        ahead = self._clock.ahead.total_seconds()
        advice = "Synchronise both clocks by NTP." if abs(ahead) > CLOCKS_APART else None
        return Finding.of("clocks", f"the database is {ahead:+.3f} s ahead of this machine", advice=advice)

    def pool(self) -> Finding:
        """Check that statements do not wait for a connection."""
        pool = self._connections.pool
        open_, idle, most = pool.get_size(), pool.get_idle_size(), pool.get_max_size()
        full = open_ == most and not idle
        found = f"{open_ - idle} of {most} connections are in use"
        return Finding.of("pool", found, advice="Raise PostgresConfig(max_connections=...)." if full else None)

    async def connected(self) -> Finding:
        """Check how near the server is to its limit of connections."""
        [[number, most]] = await self._connections.fetch(upkeep.CONNECTIONS)
        found = f"{number} of {most} allowed by the server"
        advice = "Lower PostgresConfig(max_connections=...), use PgBouncer, or raise max_connections of the server."
        return Finding.of("connections", found, advice=advice if number >= FULL * most else None)

    async def settings(self) -> Finding:
        """Check what the role and the database set; lq replaces their timeouts, except in a pool of the application."""
        own = timeouts(command_timeout=self._connections.config.command_timeout)
        found, advice = list[str](), list[str]()
        for whose, name, value, now in await self._connections.fetch(upkeep.SETTINGS, [*own, *HARMFUL]):
            is_harmful = now not in {"0", str(own[name])} if name in own else now == HARMFUL[name]
            found.append(
                f"{whose} sets {name}={value}{', which lq replaces' if name in own and not is_harmful else ''}"
            )
            if is_harmful:
                advice.append(f"ALTER {whose} RESET {name};")
        return Finding.of(
            "settings",
            "; ".join(found) or "the role and the database set none that matter",
            advice=f"They can end statements of lq, stop its writes or lose records. Run: {' '.join(advice)}"
            if advice
            else None,
        )
