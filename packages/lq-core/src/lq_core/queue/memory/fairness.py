"""The turns of the records in memory that are due and have fairness keys."""

from bisect import bisect_left, bisect_right
from collections import Counter
from datetime import datetime
from typing import Final

from lq_core.queue.fairness import Tenant, Turns, next_turns

SPARE: Final = 100
"""How many turns without records are kept before the list is made anew; at most as many as there are others."""


class _Shared:
    """The turns of one execution backend, queue and priority."""

    def __init__(self) -> None:
        self._records = Counter[datetime]()
        """How many records have each turn."""

        self._moments: list[datetime] = []
        """The turns in order; the last record of some has gone, among them all before the place *_first*."""

        self._first = 0
        self._keys: dict[str, tuple[datetime, int]] = {}
        """The last turn of each key, and how many of its records wait."""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def of(self, key: str) -> Turns:
        last = self._keys[key][0] if key in self._keys else None
        start = self._first if last is None else bisect_right(self._moments, last)
        moments = map(self._moments.__getitem__, range(start, len(self._moments)))
        return Turns(last, filter(self._records.__contains__, moments))

    def add(self, key: str, turn: datetime) -> None:
        last, number = self._keys.get(key, (turn, 0))
        self._keys[key] = max(last, turn), number + 1
        self._records[turn] += 1
        place = bisect_left(self._moments, turn, self._first)
        if place == len(self._moments) or self._moments[place] != turn:
            self._moments.insert(place, turn)

    def remove(self, key: str, turn: datetime) -> None:
        last, number = self._keys.pop(key)
        if number > 1:
            self._keys[key] = last, number - 1
        self._records[turn] -= 1
        if not self._records[turn]:
            del self._records[turn]
        while self._first < len(self._moments) and self._moments[self._first] not in self._records:
            self._first += 1
        if len(self._moments) > 2 * len(self._records) + SPARE:
            self._moments = list(filter(self._records.__contains__, self._moments))
            self._first = 0


class WaitingTurns:
    """Gives turns to records by their numbers, and takes them back."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str, str, int], _Shared] = {}
        self._given: dict[int, tuple[Tenant, datetime]] = {}

    def give(self, number: int, tenant: Tenant, *, due: datetime, is_new: bool) -> datetime:
        """Give a turn to a record that is due."""
        shared = self._shared.setdefault(tenant[:3], _Shared())
        (turn,) = next_turns(shared.of(tenant.key), [due], beside=[], is_new=is_new)
        self.keep(number, tenant, turn)
        return turn

    def keep(self, number: int, tenant: Tenant, turn: datetime) -> None:
        """Give a record this turn."""
        self._shared.setdefault(tenant[:3], _Shared()).add(tenant.key, turn)
        self._given[number] = tenant, turn

    def take_back(self, number: int) -> datetime | None:
        """Take back the turn of a record that does not wait any more, and return it; None if it had none."""
        tenant, turn = self._given.pop(number, (None, None))
        if tenant is None or turn is None:
            return None
        shared = self._shared[tenant[:3]]
        shared.remove(tenant.key, turn)
        if not shared:
            del self._shared[tenant[:3]]
        return turn
