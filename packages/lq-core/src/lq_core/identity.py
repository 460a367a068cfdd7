"""Names for things: time-ordered record ids, and worker ids that are never used twice."""

import os
import socket
import threading
import time
from typing import Final
from uuid import UUID, uuid4

_RANDOM_BITS: Final = 74
_VERSION_AND_VARIANT: Final = (0x7 << 76) | (0x2 << 62)


class _Ids:
    """Makes UUIDs of version 7 (RFC 9562) that rise within a process: 48 bits of milliseconds, then 74 random bits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> UUID:
        milliseconds = time.time_ns() // 1_000_000
        with self._lock:
            if milliseconds > self._last >> _RANDOM_BITS:
                fresh = (milliseconds << _RANDOM_BITS) | int.from_bytes(os.urandom(10)) >> 80 - _RANDOM_BITS
            else:
                # The same millisecond, or a clock that stepped back: rise by a random step (method 2 of the RFC).
                fresh = self._last + 1 + int.from_bytes(os.urandom(4))
            self._last = fresh
        high, low = fresh >> 62, fresh & ((1 << 62) - 1)
        return UUID(int=(high >> 12 << 80) | ((high & 0xFFF) << 64) | low | _VERSION_AND_VARIANT)


new_id: Final = _Ids().next
"""Makes the id of a record; later ids of one process sort behind earlier ones."""


def first_id_of(seconds: float) -> UUID:
    """Make the smallest id that a record of this moment, in seconds since 1970, can have."""
    return UUID(int=(max(0, int(seconds * 1000)) << 80) | _VERSION_AND_VARIANT)


def new_worker_id() -> str:
    """Make the name of one worker in one process: the host, and a UUID that is new at every start."""
    return f"{socket.gethostname()}-{uuid4().hex}"
