"""The checks of ``lq doctor`` for a SQLite file: its write-ahead log, its disk and its file system."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lq_core.queue.diagnosis import Finding
from lq_core.queue.sqlite import write_statements as sql

MEGABYTE: Final = 1_000_000
LONG_LOG: Final = 100 * MEGABYTE
LITTLE_SPACE: Final = 500 * MEGABYTE

MOUNTS: Final = Path("/proc/self/mounts")
NETWORK: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3"})
"""File systems on which SQLite's locks do not work between machines."""


def journal(connection: sqlite3.Connection) -> Finding:
    """Check that the file is in WAL mode, in which readers and the writer do not block each other."""
    (mode,) = connection.execute(sql.JOURNAL).fetchone()
    advice = "Another program has turned WAL mode off. Restart the processes that use this queue."
    return Finding.of("journal mode", mode, advice=None if mode == "wal" else advice)


def surroundings(path: Path, *, mounts: Path = MOUNTS) -> Sequence[Finding]:
    """Check the log, the disk and, on Linux, the file system. *mounts* is the list of mounted file systems."""
    path = path.resolve()  # The log is beside the file to which a link leads.
    return [_log(path), _disk(path), *_file_system(path, mounts)]


def _log(path: Path) -> Finding:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    advice = "A long read, such as a backup or an open shell, keeps SQLite from writing the log back. End it."
    return Finding.of("write-ahead log", _megabytes(size), advice=advice if size > LONG_LOG else None)


def _disk(path: Path) -> Finding:
    import shutil  # noqa: PLC0415 -- it loads four modules for compression, and only the doctor needs it

    free = shutil.disk_usage(path.parent).free
    found = f"{_megabytes(free)} free, the file has {_megabytes(path.stat().st_size)}"
    advice = "Free some space. If the disk is full, the queue refuses every write."
    return Finding.of("disk space", found, advice=advice if free < LITTLE_SPACE else None)


def _file_system(path: Path, mounts: Path) -> Sequence[Finding]:
    if not mounts.exists():
        return ()
    found: dict[Path, str] = {}
    for line in mounts.read_text().splitlines():
        _, place, kind, *_ = line.split()
        found[Path(place.replace("\\040", " "))] = kind
    place = next(folder for folder in path.parents if folder in found)
    advice = (
        "Move the file to a local disk (SQLiteConfig(path=...) or LQ_SQLITE_PATH). "
        "SQLite's locks do not work on a network file system."
    )
    is_remote = found[place] in NETWORK
    return [Finding.of("file system", f"{found[place]} at {place}", advice=advice if is_remote else None)]


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:,.1f} MB"
