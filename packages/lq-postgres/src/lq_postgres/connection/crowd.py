"""
Which of many idle workers look for work after a wake-up.

A wake-up says how many records there are. Every worker knows its place among those that serve the same queues, and the
wake-up turns the places, so that the first ones, as many as the records need, look at once. The others wait: twice as
many look with each step, unless the records have been taken by then. An idle worker says what it has taken. A worker
that looked after a wake-up also says that it has found nothing that it may take.
"""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final
from uuid import uuid4
from zlib import crc32

SHORTEST_STEP: Final = 0.005
"""The shortest step in seconds; where a claim takes long, a step is twice as long as that."""

ALL: Final = 0
"""A number of records that nobody knows: every worker looks at once."""

_TAKEN: Final = "-"
_PROBE: Final = "?"


class Crowd:
    """The place of one process among the workers, and the wake-ups that it sends and hears; *slots* run at once."""

    def __init__(self, *, slots: int) -> None:
        self.place, self.size = 0, 1
        """The place of this worker, from 0 on, and how many workers serve the same queues."""

        self._group = ""
        self.heard_probe = asyncio.Event()
        self._origin = uuid4().hex[:12]
        self._slots = slots
        self._numbers = count()
        self._look: Callable[[], None] = lambda: None
        self._step = SHORTEST_STEP
        self._is_idle = False
        self._has_heard = False
        """Whether a wake-up has made this process look, and no claim has ended since."""

        self._expected = 0
        """How many records were announced and not taken yet."""

        self._looking: asyncio.TimerHandle | None = None

    def takes(self, queues: Sequence[str] | None, execution_backends: Sequence[str]) -> None:
        """Note which records this worker takes; all workers that take the same ones are a group."""
        self._group = f"{crc32(repr((queues and tuple(queues), tuple(execution_backends))).encode()):08x}"

    # ------------------------------------------------------------ what it sends

    @property
    def probe(self) -> str:
        """A wake-up that only this process heeds, to check whether notifications arrive."""
        return f"{_PROBE}{self._origin}"

    def wake_up(self, records: int, *, origin: str | None = None) -> str:
        """Write a wake-up for this many new records; this process hears it only with an empty *origin*."""
        return f"{self._origin if origin is None else origin}:{next(self._numbers)}:{records}"

    def announcing(self, wake_up: str) -> str:
        """
        Mark the wake-up of a claim, so that the claim announces what it takes, if others may look for the same records.

        With a second mark, the claim also announces that it takes nothing.
        """
        if not self._is_idle or self.size <= 1:
            return wake_up
        origin, number, records = wake_up.split(":")
        return f"{origin}:{number}:{self._group}:{records}{'!!' if self._has_heard else '!'}"

    def idles(self) -> None:
        """Note that a worker of this process waits for work."""
        self._is_idle = True

    def claimed(self, records: int, *, took: float) -> None:
        """Note the end of a claim, and how many seconds it took."""
        self._step = max(SHORTEST_STEP, 2 * took)
        self._has_heard = False
        if records:
            self._is_idle = False

    # ------------------------------------------------------------ what it hears

    def listen(self, look: Callable[[], None]) -> None:
        """Call *look* when this process has to look for work."""
        self._look = look

    def hear(self, payload: str) -> None:
        """Heed a notification, of any version of lq."""
        if payload.startswith(_PROBE):
            if payload == self.probe:
                self.heard_probe.set()
        elif payload.startswith(_TAKEN):
            self._hear_of_claim(*payload.removeprefix(_TAKEN).split(" ", 1))
        elif payload.partition(":")[0] != self._origin:
            records = _number(payload.rpartition(":")[2].rstrip("!"))
            delay = self._delay(payload, records)
            if delay:
                self._expect(records)
                self._look_in(delay)
            else:
                self._look_as_told()

    def look(self) -> None:
        """Look for work now, which finds everything that was announced."""
        self.rest()
        self._look()

    def rest(self) -> None:
        """Do not look later."""
        self._expected = 0
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _hear_of_claim(self, records: str, by: str) -> None:
        origin, _, group = by.split(":")[:3]
        if origin == self._origin or group != self._group:
            return  # What another group takes may not be what this one waits for.
        if records != "0":
            self._expect(-int(records))
        else:
            self.rest()

    def _look_as_told(self) -> None:
        self._has_heard = True
        self.look()

    def _delay(self, payload: str, records: int) -> float:
        if records == ALL or self.size <= 1:
            return 0.0
        needed = -(-records // self._slots)
        rank = (self.place + crc32(payload.encode())) % self.size
        return (rank // needed).bit_length() * self._step

    def _look_in(self, delay: float) -> None:
        at = asyncio.get_running_loop().time() + delay
        if self._looking is None or at < self._looking.when():
            if self._looking is not None:
                self._looking.cancel()
            self._looking = asyncio.get_running_loop().call_at(at, self._look_as_told)

    def _expect(self, records: int) -> None:
        self._expected += records
        if self._expected <= 0:
            self.rest()


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else ALL
