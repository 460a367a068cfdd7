"""Which queues of which execution backends there is something in: the lanes that a claim looks into."""

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lq_core.queue.messages import Claim, QueueState
from lq_core.queue.sqlite import limiting
from lq_core.queue.sqlite import statements as sql
from lq_core.queue.sqlite.from_rows import from_state
from lq_core.queue.sqlite.rows import to_microseconds

_OPEN: Final = QueueState()


@dataclass(frozen=True)
class Lanes:
    """The pairs of execution backend and queue that a claim looks into, paused queues left out."""

    connection: sqlite3.Connection
    wanted: Claim
    states: Mapping[str, QueueState]

    @classmethod
    def of(cls, connection: sqlite3.Connection, wanted: Claim) -> "Lanes":
        """Look which queues are paused or limited now."""
        return cls(connection, wanted, dict(map(from_state, connection.execute(limiting.QUEUES))))

    def ready(self) -> list[Mapping[str, str]]:
        """The lanes in which something may be due."""
        return self._lanes(sql.NEXT_READY_QUEUE)

    def waiting(self) -> list[Mapping[str, str]]:
        """The lanes in which something waits for its time."""
        return self._lanes(sql.NEXT_WAITING_QUEUE)

    def state_of(self, lane: Mapping[str, str]) -> QueueState:
        """What has been said about the queue of a lane."""
        return self.states.get(lane["queue"], _OPEN)

    def draining(self, lane: Mapping[str, str]) -> int | None:
        """Before when a record of a lane has to have been created, in microseconds."""
        moment = self.state_of(lane).draining
        return None if moment is None else to_microseconds(moment)

    def is_limited(self, lane: Mapping[str, str]) -> bool:
        """Whether something in a lane is limited, so that it takes more to choose from it."""
        state = self.state_of(lane)
        if state.limits is not None or state.draining is not None:
            return True
        return self.connection.execute(limiting.NEXT_READY_KEY, {**lane, "key": ""}).fetchone() is not None

    def keys_of(self, lane: Mapping[str, str]) -> Iterator[str | None]:
        """Find the concurrency keys in a lane, after none: from key to key, without passing over the records."""
        yield None
        key = ""
        while found := self.connection.execute(limiting.NEXT_READY_KEY, {**lane, "key": key}).fetchone():
            (key,) = found
            yield key

    def _lanes(self, statement: str) -> list[Mapping[str, str]]:
        lanes: list[Mapping[str, str]] = []
        for backend in dict.fromkeys(self.wanted.execution_backends):
            if self.wanted.queues is None:
                lanes += queues_of(self.connection, statement, {"execution_backend": backend})
            else:
                lanes += [{"execution_backend": backend, "queue": queue} for queue in dict.fromkeys(self.wanted.queues)]
        return [lane for lane in lanes if not self.state_of(lane).paused]


def queues_of(connection: sqlite3.Connection, statement: str, values: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Find the queues in one part of an index: from name to name, without passing over the records between."""
    # A queue has a name, so that the empty text stands before the first.
    lane = {**values, "queue": ""}
    while found := connection.execute(statement, lane).fetchone():
        lane = {**values, "queue": found[0]}
        yield lane
