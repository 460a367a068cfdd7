"""The partitions that a claim looks into, and the choice among their records where limits apply."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from lq_core.queue.json_values import read_limits
from lq_core.queue.limits import Allowances, Partition, Subject, pick
from lq_core.queue.messages import Claim, QueueState
from lq_core.queue.sqlite import write_statements as sql
from lq_core.queue.sqlite.rows import Row, from_state, to_microseconds, to_moment

Entry: TypeAlias = tuple[int, int, bytes, int, str | None]
"""What FIRST_LIMITED finds: the sort key of a record, its row and its limits."""

MANY: Final = 200
"""After this many records in order, a claim finds out whether it is faster to step from key to key."""

FEW: Final = 200
"""The most keys for which that is faster."""

MOST_HELD: Final = 100_000
"""How many held keys a process remembers; then it begins anew."""

_OPEN: Final = QueueState()


class Held(NamedTuple):
    """A key whose next record waits for a token of its rate."""

    id: bytes
    """The record, because the limits of another one may be other ones."""

    since: datetime
    until: datetime


HeldKeys: TypeAlias = dict[tuple[str, str, str], Held]
"""By execution backend, queue and key: what earlier claims of this process have found."""


class _Look(NamedTuple):
    queue: str
    values: Mapping[str, object]
    """The common values of the statements."""

    def place(self, key: str) -> tuple[str, str, str]:
        """Name a partition."""
        return str(self.values["execution_backend"]), self.queue, key


class Partitions(Struct, frozen=True):
    """The pairs of execution backend and queue that a claim looks into, without paused queues."""

    connection: sqlite3.Connection
    wanted: Claim
    states: Mapping[str, QueueState]
    at: datetime
    held: HeldKeys
    tokens: list[datetime] = field(default_factory=list[datetime])
    """When the held keys that were met get their tokens."""

    @classmethod
    def of(cls, connection: sqlite3.Connection, wanted: Claim, *, at: datetime, held: HeldKeys) -> "Partitions":
        """Read which queues are paused or limited now."""
        return cls(connection, wanted, dict(map(from_state, connection.execute(sql.QUEUES))), at, held)

    def ready(self) -> list[Mapping[str, str]]:
        """Find the partitions in which records may be due."""
        return self._partitions(sql.NEXT_READY_QUEUE)

    def waiting(self) -> list[Mapping[str, str]]:
        """Find the partitions in which records wait for their time."""
        return self._partitions(sql.NEXT_WAITING_QUEUE)

    def draining(self, partition: Mapping[str, str]) -> int | None:
        """Read the moment, in microseconds, before which a record of a partition must have been created."""
        moment = self._state_of(partition).draining
        return None if moment is None else to_microseconds(moment)

    def is_limited(self, partition: Mapping[str, str]) -> bool:
        """Whether limits or a drain apply to a partition, so that :meth:`choose` must look at its records."""
        state = self._state_of(partition)
        if state.limits is not None or state.draining is not None:
            return True
        return self.connection.execute(sql.NEXT_READY_KEY, {**partition, "key": ""}).fetchone() is not None

    def choose(self, ready: Sequence[Mapping[str, str]]) -> tuple[list[int], bool]:
        """Pick the rows that a claim takes, store the buckets, and say whether a limit held a record back."""
        allowances, limit = self._allowances(), self.wanted.limit
        picked, held_back = pick(self._limited(ready, allowances, limit=limit), limit, allowances)
        if allowances.changed:
            kept = [(*subject, to_microseconds(full_at)) for subject, full_at in allowances.changed.items()]
            self.connection.executemany(sql.KEEP_BUCKET, kept)
            self.connection.execute(sql.DROP_FULL_BUCKETS, {"at": to_microseconds(self.at)})
        return [rowid for _, _, _, rowid, _ in picked], held_back

    def openings(self, ready: Sequence[Mapping[str, str]]) -> list[datetime | None]:
        """Say when each partition may start its first record; None when another record has to end first."""
        allowances = self._allowances()
        moments = [allowances.opens_at(partition) for partition in self._limited(ready, allowances, limit=1)]
        return moments + self.tokens

    def _state_of(self, partition: Mapping[str, str]) -> QueueState:
        return self.states.get(partition["queue"], _OPEN)

    def _partitions(self, statement: str) -> list[Mapping[str, str]]:
        partitions: list[Mapping[str, str]] = []
        for backend in dict.fromkeys(self.wanted.execution_backends):
            if self.wanted.queues is None:
                partitions += queues_of(self.connection, statement, {"execution_backend": backend})
            else:
                partitions += [
                    {"execution_backend": backend, "queue": queue} for queue in dict.fromkeys(self.wanted.queues)
                ]
        return [partition for partition in partitions if not self._state_of(partition).paused]

    def _limited(
        self, ready: Sequence[Mapping[str, str]], allowances: Allowances, *, limit: int
    ) -> Iterator[Partition[Entry]]:
        for place in ready:
            look = _Look(place["queue"], {**place, "at": to_microseconds(self.at), "draining": self.draining(place)})
            yield from self._partition(look, None, allowances, limit=limit)
            yield from self._keyed(look, allowances, limit=limit)

    def _keyed(self, look: "_Look", allowances: Allowances, *, limit: int) -> Iterator[Partition[Entry]]:
        """
        Make the partitions to pick at most *limit* records from.

        In the order of claims, *limit* records that may start come before every record that this does not read.
        """
        room, missing = dict[str, int](), limit
        with closing(self.connection.execute(sql.KEYS_IN_ORDER, look.values)) as keys:
            for number, (key, id_) in enumerate(keys):
                if number == MANY and (few := self._few_keys(look)) is not None:
                    for other in few - room.keys():
                        yield from self._partition(look, other, allowances, limit=limit)
                    return
                if key not in room:
                    room[key] = 0
                    if self._is_held(look, key, id_):
                        continue
                    for partition in self._partition(look, key, allowances, limit=limit):
                        room[key] = allowances.room(partition.by_key, limit)
                        if not room[key]:
                            self._hold(look, key, id_, until=allowances.opens_at(partition.by_key))
                        yield partition
                if room[key]:
                    room[key] -= 1
                    missing -= 1
                    if missing <= 0:
                        return

    def _partition(
        self, look: "_Look", key: str | None, allowances: Allowances, *, limit: int
    ) -> Iterator[Partition[Entry]]:
        one = {**look.values, "key": key, "limit": 1}
        first = self.connection.execute(sql.FIRST_LIMITED, one).fetchone()
        if first is not None:
            states = self.states.get(look.queue, _OPEN)
            partition = Partition(
                look.queue, iter([first]), key=key, limits=read_limits(first[4]), queue_limits=states.limits
            )
            most = allowances.room(partition.by_key, limit)
            rest = self._rest({**one, "limit": most}) if most > 1 else ()
            yield replace(partition, entries=chain([first], rest))

    def _hold(self, look: "_Look", key: str, id_: bytes, *, until: datetime | None) -> None:
        if until is not None and until > self.at:
            if len(self.held) >= MOST_HELD:
                self.held.clear()
            self.held[look.place(key)] = Held(id_, self.at, until)

    def _is_held(self, look: "_Look", key: str, id_: bytes) -> bool:
        known = self.held.get(look.place(key))
        if known is None:
            return False
        # A clock that was set back changes when the token comes.
        if known.id == id_ and known.since <= self.at < known.until:
            self.tokens.append(known.until)
            return True
        del self.held[look.place(key)]
        return False

    def _few_keys(self, look: "_Look") -> set[str] | None:
        """Find the keys if they are few; steps from key to key and skips the records."""
        keys, key = set[str](), ""
        while found := self.connection.execute(sql.NEXT_READY_KEY, {**look.values, "key": key}).fetchone():
            (key,) = found
            keys.add(key)
            if len(keys) > FEW:
                return None
        return keys

    def _rest(self, values: Mapping[str, object]) -> Iterator[Row]:
        yield from self.connection.execute(sql.FIRST_LIMITED, values).fetchall()[1:]

    def _allowances(self) -> Allowances:
        return Allowances(self.at, running=self._running, full_at=self._full_at)

    def _running(self, subject: Subject) -> int:
        statement = sql.COUNT_RUNNING_IN_QUEUE if subject.kind == "queue" else sql.COUNT_RUNNING_WITH_KEY
        return self.connection.execute(statement, {"name": subject.name}).fetchone()[0]

    def _full_at(self, subject: Subject) -> datetime | None:
        found = self.connection.execute(sql.BUCKET, subject).fetchone()
        return None if found is None else to_moment(found[0])


def queues_of(connection: sqlite3.Connection, statement: str, values: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """Find the queues in one part of an index; steps from name to name and skips the records between."""
    # No queue has an empty name, so the empty text is before the first name.
    partition = {**values, "queue": ""}
    while found := connection.execute(statement, partition).fetchone():
        partition = {**values, "queue": found[0]}
        yield partition
