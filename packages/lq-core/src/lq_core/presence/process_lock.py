"""
A lock file for each worker, by which the other processes on its host see at once that its process has died.

The system releases the lock of a process that ends, however it ends. Where another process does not find the file, for
example in another container, it learns nothing, and the heartbeat decides.
"""

import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- only a folder of this user in it is used

KEPT: Final = 86_400.0
"""Seconds after which the file of a dead worker that nobody knows is deleted."""

_SAFE: Final = re.compile(r"[\w-][\w.-]*")
"""The ids of workers that are the name of a file, and of no other one."""


class ProcessLock:
    """Shows that this process lives, under the id of one worker."""

    def __init__(self) -> None:
        self._held: tuple[Path, int] | None = None

    def take(self, worker_id: str) -> None:
        """Lock the file of a worker, instead of that of its id before. Without such locks, this does nothing."""
        self.release()
        path = _path_of(worker_id)
        if path is not None:
            with suppress(OSError):
                file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                self._held = path, file
                _lock(file, wait=True)  # Another process may look just now.

    def release(self) -> None:
        """Delete the file, because the worker is not registered any more."""
        if self._held is not None:
            (path, file), self._held = self._held, None
            with suppress(OSError):
                path.unlink()
            os.close(file)


def may_have_dead() -> bool:
    """Whether a worker of this host may have died: of this queue, or of another one. Deletes files of long ago."""
    folder = _folder()
    for file in () if folder is None else folder.iterdir():
        if has_died(file.name):
            with suppress(OSError):
                if time.time() - file.stat().st_mtime < KEPT:
                    return True
                file.unlink()
    return False


def has_died(worker_id: str) -> bool:
    """Whether the process of a registered worker ran on this host and has died; False if that is unknown."""
    path = _path_of(worker_id)
    if path is None:
        return False
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _lock(file, wait=False)
    finally:
        os.close(file)


def forget(worker_id: str) -> None:
    """Delete the file of a worker that has died."""
    path = _path_of(worker_id)
    if path is not None:
        with suppress(OSError):
            path.unlink()


def _path_of(worker_id: str) -> Path | None:
    folder = _folder() if _SAFE.fullmatch(worker_id) else None
    return None if folder is None else folder / worker_id


def _folder() -> Path | None:
    if sys.platform == "win32":
        return None
    base = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else _temporary()
    folder = base / f"lq-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    # Another user may have made a folder, or a link, of this name.
    return folder if S_ISDIR(state.st_mode) and state.st_uid == os.getuid() else None


def _temporary() -> Path:
    import tempfile  # noqa: PLC0415 -- six modules for compression and more, needed on few systems

    return Path(tempfile.gettempdir())


def _lock(file: int, *, wait: bool) -> bool:
    """Lock a file, and return whether it is locked; False if another process holds the lock."""
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415 -- Windows has no such module

    try:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
