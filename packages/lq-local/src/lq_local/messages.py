"""The messages between a worker and its child processes, which travel over the child's standard input and output."""

from datetime import datetime
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from lq_core.attempts.attempt import StopReason
from lq_core.records.record import Progress, QueuedTaskRecord

HEAD: Final = 4
"""The number of bytes before each message; they contain its length."""


class Setup(Struct, frozen=True, kw_only=True, tag=True):
    """The first message to a child: the parts of the application that it needs."""

    task_modules: tuple[str, ...]
    other_modules: tuple[str, ...]
    """Other modules with tasks of this backend; if the import of one fails, only its own records fail."""

    providers: tuple[str, ...]
    """The paths of the providers, for example ``shop.tasks:pool``."""

    max_result_bytes: int
    unknown_task_patience: float
    log_levels: dict[str, int]
    """The level of every logger that has one, by name; the name of the root is ``""``."""


class Run(Struct, frozen=True, kw_only=True, tag=True):
    """Run the function of a record."""

    record: QueuedTaskRecord
    module: str | None
    """The module that defines the task; None if the worker does not know the task."""

    now: datetime
    """The time by the clock of the queue backend."""


class Stop(Struct, frozen=True, tag=True):
    """Cancel the running function."""

    reason: StopReason


class Predecessors(Struct, frozen=True, tag=True):
    """The answer to :class:`Ask`; *problem* if the worker could not read the records."""

    records: list[QueuedTaskRecord]
    problem: str | None = None


class Kept(Struct, frozen=True, tag=True):
    """The answer to :class:`Keep`; *error* is the pickled exception if the worker could not store it."""

    error: bytes | None = None


class Ready(Struct, frozen=True, tag=True):
    """The child waits for records, or its setup failed with *problem*."""

    problem: str | None = None


class Begun(Struct, frozen=True, tag=True):
    """The child received a record and is about to run it."""


class Said(Struct, frozen=True, tag=True):
    """The task reports its progress, or adds a line to the history of its record."""

    said: Progress | str


class Keep(Struct, frozen=True, tag=True):
    """The task has completed a step: store its result, as JSON."""

    event: str
    name: str
    value: str


class Ask(Struct, frozen=True, tag=True):
    """The task reads its predecessors."""


class Logged(Struct, frozen=True, tag=True):
    """The attributes of one log record."""

    facts: dict[str, str | int | float | bool | None]


class Ended(Struct, frozen=True, tag=True):
    """The attempt is over; *record* is the next step, not yet stored, and *error* the pickled exception."""

    record: QueuedTaskRecord
    error: bytes | None = None


ToChild = Setup | Run | Stop | Predecessors | Kept
FromChild = Ready | Begun | Said | Keep | Ask | Logged | Ended


def packed(message: ToChild | FromChild) -> bytes:
    """Encode a message, with its length before it."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(HEAD, "big") + data


def received(reads: BinaryIO) -> ToChild | None:
    """Wait for the next message of the worker; None if the pipe is closed."""
    length = int.from_bytes(reads.read(HEAD), "big")
    data = reads.read(length)
    return msgspec.msgpack.decode(data, type=ToChild) if data and len(data) == length else None
