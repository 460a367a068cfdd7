"""Which queues of which execution backends there is something in: the lanes that a claim looks into."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lq_core.queue.messages import Claim
from lq_core.queue.sqlite import statements as sql


@dataclass(frozen=True)
class Lanes:
    """The pairs of execution backend and queue that a claim looks into, paused queues left out."""

    connection: sqlite3.Connection
    wanted: Claim
    paused: frozenset[str]

    @classmethod
    def of(cls, connection: sqlite3.Connection, wanted: Claim) -> "Lanes":
        """Look which queues are paused now."""
        return cls(connection, wanted, frozenset(name for (name,) in connection.execute(sql.PAUSED)))

    def ready(self) -> list[Mapping[str, str]]:
        """The lanes in which something may be due."""
        return self._lanes(sql.NEXT_READY_QUEUE)

    def waiting(self) -> list[Mapping[str, str]]:
        """The lanes in which something waits for its time."""
        return self._lanes(sql.NEXT_WAITING_QUEUE)

    def _lanes(self, statement: str) -> list[Mapping[str, str]]:
        lanes: list[Mapping[str, str]] = []
        for backend in dict.fromkeys(self.wanted.execution_backends):
            if self.wanted.queues is None:
                lanes += queues_of(self.connection, statement, {"execution_backend": backend})
            else:
                lanes += [{"execution_backend": backend, "queue": queue} for queue in dict.fromkeys(self.wanted.queues)]
        return [lane for lane in lanes if lane["queue"] not in self.paused]


def queues_of(connection: sqlite3.Connection, statement: str, values: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Find the queues in one part of an index: from name to name, without passing over the records between."""
    # A queue has a name, so that the empty text stands before the first.
    lane = {**values, "queue": ""}
    while found := connection.execute(statement, lane).fetchone():
        lane = {**values, "queue": found[0]}
        yield lane
