"""Time-ordered record ids, and worker ids that are never used twice."""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4, uuid5

_RANDOM_BITS: Final = 74
_BYTES_FOR_STEPS: Final = 4096
_VERSION_AND_VARIANT: Final = (0x7 << 76) | (0x2 << 62)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMESPACE: Final = UUID("4d1f3c6e-5a0b-4c77-9f2e-0c5d8e1b7a36")


class _Ids:
    """Makes UUIDs of version 7 (RFC 9562) that rise within a process: 48 bits of milliseconds, then 74 random bits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self._steps: Iterator[int] = iter(())
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._begin_again)

    def next(self) -> UUID:
        milliseconds = time.time_ns() // 1_000_000
        with self._lock:
            if milliseconds > self._last >> _RANDOM_BITS:
                fresh = (milliseconds << _RANDOM_BITS) | int.from_bytes(os.urandom(10)) >> 80 - _RANDOM_BITS
            else:
                # The same millisecond, or a clock that stepped back: rise by a random step (method 2 of the RFC).
                step = next(self._steps, None)
                if step is None:  # One call for many steps: a call for each takes as long as all the rest.
                    self._steps = iter(memoryview(os.urandom(_BYTES_FOR_STEPS)).cast("I"))
                    step = next(self._steps)
                fresh = self._last + 1 + step
            self._last = fresh
        return _uuid7(fresh)

    def _begin_again(self) -> None:
        """Share neither steps nor a locked lock with the process that has forked."""
        self._lock, self._steps = threading.Lock(), iter(())


new_id: Final = _Ids().next
"""Makes the id of a record; later ids of a process sort behind earlier ones."""


def first_id_of(seconds: float) -> UUID:
    """Make the smallest id that a record of this moment, in seconds since 1970, can have."""
    return UUID(int=(max(0, int(seconds * 1000)) << 80) | _VERSION_AND_VARIANT)


def id_of(name: str, moment: datetime) -> UUID:
    """Make the same id for the same name and moment; ids sort by moment, to the millisecond."""
    microseconds = (moment - _EPOCH) // timedelta.resolution
    drawn = uuid5(_NAMESPACE, f"{microseconds} {name}").int & ((1 << _RANDOM_BITS) - 1)
    return _uuid7(microseconds // 1000 << _RANDOM_BITS | drawn)


def new_worker_id() -> str:
    """Make the id of a worker: the host name, and a UUID that is new at every start."""
    return f"{socket.gethostname()}-{uuid4().hex}"


def _uuid7(bits: int) -> UUID:
    """Put version and variant between 48 bits of milliseconds and 74 others."""
    high, low = bits >> 62, bits & ((1 << 62) - 1)
    return UUID(int=(high >> 12 << 80) | ((high & 0xFFF) << 64) | low | _VERSION_AND_VARIANT)
