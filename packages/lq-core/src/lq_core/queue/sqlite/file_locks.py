"""
Locks on a SQLite file that other code of this process cannot drop.

SQLite's own locks belong to the process, and the system drops all of them when the process closes any descriptor of
the file, for example after a copy. Another process that closes the file then believes that it is the last one, and
deletes the write-ahead log, into which this process still writes. Linux also has locks that belong to a descriptor and
exclude SQLite's: this module puts them on the descriptors that SQLite has opened.
"""

import fcntl
import os
import struct
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

from lq_core.queue.sqlite.faults import FileBusyError

Identity: TypeAlias = tuple[int, int]
"""The device and the number of a file, which stay the same when it is renamed."""

OPEN_BYTES: Final = (0x4000_0002, 510)
"""The first byte and the number of bytes of the file that SQLite locks while a connection is open."""

WRITING_BYTE: Final = (0x4000_0400, 1)
"""The byte of the file that lq locks during a transaction; SQLite does not use it."""

INDEX_IN_USE_BYTE: Final = (128, 1)
"""The byte of the ``-shm`` file that SQLite locks while a process uses it."""

_DESCRIPTORS: Final = "/dev/fd"
_FLOCK: Final = struct.Struct("hhqqi0q")


def identity_of(path: str) -> Identity | None:
    """Identify the file at a path; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 -- runs in every transaction, and a Path takes twice as long
    except OSError:
        return None
    return found.st_dev, found.st_ino


def descriptors() -> Mapping[Identity | None, frozenset[int]]:
    """Find the descriptors of this process that can write, by file; empty where the system does not list them."""
    found: dict[Identity | None, frozenset[int]] = {}
    if not os.path.isdir(_DESCRIPTORS):  # noqa: PTH112 -- as above
        return found
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 -- as above
        with suppress(OSError):  # The descriptor of the listing itself is closed by now.
            if fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
                file = os.fstat(int(name))
                identity = file.st_dev, file.st_ino
                found[identity] = found.get(identity, frozenset()) | {int(name)}
    return found


class FileLocks:
    """
    The locks of one connection.

    *main* are the descriptors of the file that SQLite may have opened for it; *index* those of the ``-shm`` file.
    """

    def __init__(self, main: Collection[int], index: Iterable[int]) -> None:
        self._main = tuple(main)
        self._writing = self._main[0] if len(self._main) == 1 else None
        self.hold = False
        """Whether other processes cannot delete the log, whatever this process closes."""

        if self._main and sys.platform == "linux":
            with suppress(OSError):  # Some file systems do not have such locks.
                for descriptor in self._main:
                    _lock(descriptor, fcntl.F_RDLCK, OPEN_BYTES)
                self.hold = True
                for descriptor in index:
                    _lock(descriptor, fcntl.F_RDLCK, INDEX_IN_USE_BYTE)

    def renew(self) -> None:
        """Where there are no better locks, take SQLite's own lock again; FileBusyError if another process closes."""
        if not self.hold and self._writing is not None:
            first, count = OPEN_BYTES
            try:
                fcntl.lockf(self._writing, fcntl.LOCK_SH | fcntl.LOCK_NB, count, first)
            except BlockingIOError:
                raise FileBusyError from None

    def begin(self) -> None:
        """Exclude the transactions of other connections of lq; FileBusyError while there is one."""
        if self.hold and self._writing is not None:
            try:
                _lock(self._writing, fcntl.F_WRLCK, WRITING_BYTE)
            except BlockingIOError:
                raise FileBusyError from None

    def end(self) -> None:
        """Let others write."""
        if self.hold and self._writing is not None:
            _lock(self._writing, fcntl.F_UNLCK, WRITING_BYTE)

    def release(self) -> None:
        """Let SQLite delete the log when this connection is the last one that closes."""
        if self.hold:
            for descriptor in self._main:
                with suppress(OSError):  # It may be closed.
                    _lock(descriptor, fcntl.F_UNLCK, OPEN_BYTES)
            self.hold = False


NO_LOCKS: Final = FileLocks((), ())


def _lock(descriptor: int, kind: int, place: tuple[int, int]) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, *place, 0))
