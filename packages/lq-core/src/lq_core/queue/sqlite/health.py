"""What can hurt a queue in a SQLite file: its log, its disk, and the kind of file system it lies on."""

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lq_core.queue.diagnosis import Finding
from lq_core.queue.sqlite import statements as sql

MEGABYTE: Final = 1_000_000
LONG_LOG: Final = 100 * MEGABYTE
LITTLE_SPACE: Final = 500 * MEGABYTE

MOUNTS: Final = Path("/proc/self/mounts")
NETWORK: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"})
"""The file systems whose locks another machine keeps, or nobody."""


def journal(connection: sqlite3.Connection) -> Finding:
    """Whether readers and the writer keep out of each other's way."""
    (mode,) = connection.execute(sql.JOURNAL).fetchone()
    advice = None if mode == "wal" else "Another program has turned the log off. Restart the processes of this queue."
    return Finding(check="journal mode", found=mode, advice=advice)


def surroundings(path: Path, *, mounts: Path = MOUNTS) -> Sequence[Finding]:
    """Look at the files, the disk and, where the system tells, the file system; *mounts* lists what is mounted."""
    return [_log(path), _disk(path), *_file_system(path, mounts)]


def _log(path: Path) -> Finding:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    advice = (
        "Something reads for long and keeps the log from being written back, such as a backup or a shell: end it."
        if size > LONG_LOG
        else None
    )
    return Finding(check="write-ahead log", found=_megabytes(size), advice=advice)


def _disk(path: Path) -> Finding:
    free = shutil.disk_usage(path.parent).free
    advice = "Free some space: a full disk refuses every change." if free < LITTLE_SPACE else None
    return Finding(check="disk space", found=f"{_megabytes(free)} free, the file takes {_size(path)}", advice=advice)


def _file_system(path: Path, mounts: Path) -> Sequence[Finding]:
    if not mounts.exists():
        return ()
    found: dict[Path, str] = {}
    for line in mounts.read_text().splitlines():
        _, place, kind, *_ = line.split()
        found[Path(place.replace("\\040", " "))] = kind
    place = next(folder for folder in path.resolve().parents if folder in found)
    advice = (
        "Put the file on a local disk (SQLiteConfig(path=...) or LQ_SQLITE_PATH): locks over a network are not kept."
        if found[place] in NETWORK
        else None
    )
    return [Finding(check="file system", found=f"{found[place]} at {place}", advice=advice)]


def _size(path: Path) -> str:
    return _megabytes(path.stat().st_size)


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.1f} MB"
