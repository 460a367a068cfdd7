"""What hurts a queue in PostgreSQL, measured, and what to do about it: the checks of ``lq doctor``."""

import re
from collections.abc import Sequence
from typing import Final

from lq_core.queue import Finding
from lq_postgres.clock import DatabaseClock
from lq_postgres.connections import Connections
from lq_postgres.faults import MIGRATE
from lq_postgres.listener import Listener
from lq_postgres.schema import Schema, migrations
from lq_postgres.statements import health

LONG_TRANSACTION: Final = 60.0
MANY_DEAD: Final = 100_000
CLOCKS_APART: Final = 1.0
FULL: Final = 0.9
"""The share of the server's connections from which on somebody should look."""

_INDEX: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX (?P<name>\w+)\s+ON \S+\.records [^;]*;")


class Diagnosis:
    """The checks, each a method that looks at one thing."""

    def __init__(self, connections: Connections, *, clock: DatabaseClock, listener: Listener | None) -> None:
        self._connections = connections
        self._clock = clock
        self._listener = listener

    async def all(self) -> Sequence[Finding]:
        """Look at everything; what is broken so far that the rest cannot be read comes alone."""
        schema = await self.schema()
        if schema.advice is not None:
            return [schema]
        return [
            schema,
            await self.oldest_transaction(),
            await self.dead_rows(),
            await self.indexes(),
            await self.listening(),
            self.clocks(),
            self.pool(),
            await self.connected(),
        ]

    async def schema(self) -> Finding:
        """Whether the schema is that of this code."""
        async with self._connections.lent() as connection:
            schema = Schema(connection, self._connections.config.schema)
            pending, version = await schema.pending(), await schema.version()
        found = f"migration {version}, and {len(pending)} are missing" if pending else f"migration {version}"
        return Finding(check="schema", found=found, advice=f"Run: {MIGRATE}" if pending else None)

    async def oldest_transaction(self) -> Finding:
        """Who keeps PostgreSQL from cleaning up."""
        rows = await self._connections.fetch(health.OLDEST_TRANSACTION)
        for seconds, pid, name, state in rows:
            found = f"open for {seconds or 0:.0f} s: process {pid}, {name or 'without a name'}, {state}"
            advice = (
                f"Claims get slower while it is open. End it: SELECT pg_terminate_backend({pid}); and let the server "
                "end such ones: idle_in_transaction_session_timeout."
            )
            late = (seconds or 0) > LONG_TRANSACTION
            return Finding(check="oldest transaction", found=found, advice=advice if late else None)
        return Finding(check="oldest transaction", found="none is open")

    async def dead_rows(self) -> Finding:
        """Whether vacuum keeps up."""
        [[dead, live, vacuumed]] = await self._connections.fetch(health.DEAD_ROWS)
        found = f"{dead:,} dead beside {live:,} live; last autovacuum: {vacuumed or 'never'}"
        name = self._connections.config.schema
        advice = f'See to the oldest transaction first; then run: VACUUM ANALYZE "{name}".records'
        return Finding(check="dead rows", found=found, advice=advice if dead > max(MANY_DEAD, live) else None)

    async def indexes(self) -> Finding:
        """Whether an index is missing, or was never finished."""
        name = self._connections.config.schema
        wanted = {found["name"]: found[0] for migration in migrations(name) for found in _INDEX.finditer(migration.sql)}
        missing = sorted(wanted.keys() - {row[0] for row in await self._connections.fetch(health.INDEXES)})
        if not missing:
            return Finding(check="indexes", found=f"all {len(wanted)} are there")
        advice = " ".join(f'DROP INDEX IF EXISTS "{name}".{index}; {wanted[index]}' for index in missing)
        return Finding(check="indexes", found=f"missing: {', '.join(missing)}", advice=f"Run: {advice}")

    async def listening(self) -> Finding:
        """Whether wake-ups arrive; where nobody waits for any in this process, it is tried out."""
        if self._listener is None:
            return Finding(check="listener", found="off: records are found by polling")
        if self._listener.up or (not self._listener.is_needed and await self._listener.try_out()):
            return Finding(check="listener", found="hears wake-ups")
        advice = (
            "Behind PgBouncer, give the server's own address: PostgresConfig(listen_dsn=...), or set poll_only=True."
        )
        return Finding(check="listener", found="down: records are found by polling", advice=advice)

    def clocks(self) -> Finding:
        """How far this machine's clock is from the database's."""
        ahead = self._clock.ahead.total_seconds()
        advice = "Let both keep time by NTP." if abs(ahead) > CLOCKS_APART else None
        return Finding(check="clocks", found=f"the database is {ahead:+.3f} s ahead of this machine", advice=advice)

    def pool(self) -> Finding:
        """Whether statements have to wait for a connection."""
        pool = self._connections.pool
        open_, idle, most = pool.get_size(), pool.get_idle_size(), pool.get_max_size()
        full = open_ == most and not idle
        found = f"{open_ - idle} of {most} connections are in use"
        return Finding(check="pool", found=found, advice="Raise PostgresConfig(max_connections=...)." if full else None)

    async def connected(self) -> Finding:
        """Whether the server is about to refuse connections."""
        [[number, most]] = await self._connections.fetch(health.CONNECTIONS)
        found = f"{number} of {most} that the server takes"
        advice = "Lower PostgresConfig(max_connections=...), put PgBouncer between, or raise max_connections there."
        return Finding(check="connections", found=found, advice=advice if number >= FULL * most else None)
