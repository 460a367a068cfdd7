"""The effect log: what the processes of a soak have done, outside of the queue."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

START: Final = "start"
EFFECT: Final = "effect"
CLEAN: Final = "clean"
NO_RECORD: Final = UUID(int=0)


class Line(NamedTuple):
    """One thing that happened."""

    what: str
    record_id: UUID
    attempt: int


class EffectLog:
    """A file that many processes append to, each line in one write, so that no line is partial."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, record_id: UUID, attempt: int = 0) -> None:
        """Note that something has happened."""
        os.write(self._file, f"{what} {record_id} {attempt}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(path: Path) -> Sequence[Line]:
    """Read what has happened so far."""
    return list(_lines(path))


def _lines(path: Path) -> Iterator[Line]:
    for line in path.read_text().splitlines():
        what, record_id, attempt = line.split()
        yield Line(what, UUID(record_id), int(attempt))
