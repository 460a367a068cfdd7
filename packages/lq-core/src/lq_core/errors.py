"""Every error that lq raises on purpose: each carries its facts and says the next step."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final
from uuid import UUID

PACKAGES: Final = {
    "immediate": "lq-local",
    "local": "lq-local",
    "cloudrun": "lq-cloudrun",
    "postgres": "lq-postgres",
}
"""Which package brings a backend that lq-core does not bring itself."""


class QueueError(Exception):
    """The base of every error of lq."""


class ConfigurationError(QueueError, ValueError):
    """A setting has a value that cannot work."""


class UnknownTaskError(QueueError, LookupError):
    """No task of this name is registered in this process."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = tuple(sorted(known))
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        close = get_close_matches(self.name, self.known, n=1)
        advice = (
            f"Did you mean {close[0]!r}?"
            if close
            else "Import the module that defines it, or name that module in QueueConfig(task_modules=...)."
        )
        return f"No task is registered as {self.name!r}. {advice}"


class DuplicateTaskError(QueueError, ValueError):
    """Two different functions claim one task name."""

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(name, first, second)
        self.name = name
        self.first = first
        self.second = second

    def __str__(self) -> str:
        return (
            f"The task name {self.name!r} belongs to {self.first} already; {self.second} claims it too. "
            f"Give one of them another name: @task(name=...)."
        )


class UnknownScheduleError(QueueError, LookupError):
    """No schedule of this name is declared in this process, or known to the queue backend."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = tuple(sorted(known))
        super().__init__(name, known)
        self.name = name
        self.known = known

    def __str__(self) -> str:
        close = get_close_matches(self.name, self.known, n=1)
        advice = (
            f"Did you mean {close[0]!r}?"
            if close
            else "It is known once a worker has declared it; to run it, import the module that declares it as well."
        )
        return f"There is no schedule {self.name!r}. {advice}"


class DuplicateScheduleError(QueueError, ValueError):
    """Two different schedules claim one name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"The schedule name {self.name!r} belongs to another schedule already. Give one of them another name."


class TaskDefinitionError(QueueError, TypeError):
    """A function cannot become a task as it stands."""


class InvalidArgumentError(QueueError, TypeError):
    """The arguments of a call do not fit the task's signature, or cannot be encoded as JSON."""

    def __init__(self, task_name: str, problem: str, signature: str) -> None:
        super().__init__(task_name, problem, signature)
        self.task_name = task_name
        self.problem = problem
        self.signature = signature

    def __str__(self) -> str:
        return f"{self.task_name}{self.signature} cannot be called like this: {self.problem}"


class MissingProviderError(QueueError, LookupError):
    """A task or a provider asks for a value of a type that nobody provides."""

    def __init__(self, asker: str, parameter: str, kind: str) -> None:
        super().__init__(asker, parameter, kind)
        self.asker = asker
        self.parameter = parameter
        self.kind = kind

    def __str__(self) -> str:
        return (
            f"{self.asker} asks for a {self.kind} as {self.parameter!r}, and nobody provides one. Write a function "
            f"that yields it, annotated `-> AsyncIterator[{self.kind}]`, decorate it with @per_worker or @per_attempt, "
            "and list it in QueueConfig(providers=(...,))."
        )


class PayloadTooLargeError(QueueError, ValueError):
    """The encoded arguments or the encoded result are larger than ``QueueConfig.max_payload_bytes``."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what = what
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.what} takes {self.size:,} bytes of JSON and the limit is {self.limit:,}. "
            f"Store the data elsewhere and pass a reference, or raise QueueConfig(max_payload_bytes=...)."
        )


class UnknownBackendError(QueueError, ValueError):
    """No backend of this kind goes by this short name here."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = tuple(sorted(known))
        super().__init__(kind, name, known)
        self.kind = kind
        self.name = name
        self.known = known

    def __str__(self) -> str:
        here = ", ".join(self.known) or "none"
        if self.name in PACKAGES:
            advice = f"Install it with: pip install {PACKAGES[self.name]}"
        elif close := get_close_matches(self.name, {*self.known, *PACKAGES}, n=1):
            advice = f"Did you mean {close[0]!r}?"
        else:
            advice = "Install the package that brings it, or give its import path: 'package.module:Class'."
        return f"There is no {self.kind} backend {self.name!r} (here: {here}). {advice}"


class IllegalMoveError(QueueError):
    """A record was asked to take a step that its status does not allow."""

    def __init__(self, record_id: UUID, status: str, to: str, allowed: tuple[str, ...]) -> None:
        super().__init__(record_id, status, to, allowed)
        self.record_id = record_id
        self.status = status
        self.to = to
        self.allowed = allowed

    def __str__(self) -> str:
        reason = f"it may become {' or '.join(self.allowed)}" if self.allowed else "it has ended"
        return f"Record {self.record_id} is {self.status} and cannot become {self.to}: {reason}."


class RecordNotFoundError(QueueError, LookupError):
    """There is no record of this id: it never was, or retention has deleted it."""

    def __init__(self, record_id: UUID) -> None:
        super().__init__(record_id)
        self.record_id = record_id

    def __str__(self) -> str:
        return (
            f"There is no record {self.record_id}: the id is wrong, retention has deleted the record, or the "
            "transaction that stored it has not been committed."
        )


class OwnershipLostError(QueueError):
    """The record has moved on: this owner may not write to it any more."""

    def __init__(self, record_id: UUID, epoch: int) -> None:
        super().__init__(record_id, epoch)
        self.record_id = record_id
        self.epoch = epoch

    def __str__(self) -> str:
        return f"Epoch {self.epoch} of record {self.record_id} is over: another owner has it, or it has ended."


class DuplicateKeyError(QueueError, ValueError):
    """The unique key is held by another record, and the call asked to be refused then."""

    def __init__(self, key: str, record_id: UUID) -> None:
        super().__init__(key, record_id)
        self.key = key
        self.record_id = record_id

    def __str__(self) -> str:
        return f"The key {self.key!r} is held by record {self.record_id}."


class DuplicateRecordError(QueueError, ValueError):
    """A record of this id is stored already, or was to be stored twice; *detail* says which, as the store has it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return (
            f"A record is stored already, or twice in one batch ({self.detail}); every record needs an id of its own. "
            "A call is enqueued once: make another one with task.call(...)."
        )


class TaskFailedError(QueueError):
    """The task that was waited for has failed, was cancelled, or has expired."""

    def __init__(self, record_id: UUID, task_name: str, status: str, reason: str) -> None:
        super().__init__(record_id, task_name, status, reason)
        self.record_id = record_id
        self.task_name = task_name
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.task_name} ({self.record_id}) is {self.status}: {self.reason}"


class InvalidResultError(QueueError, TypeError):
    """The stored result of a completed task does not fit the task's return annotation."""

    def __init__(self, record_id: UUID, task_name: str, problem: str) -> None:
        super().__init__(record_id, task_name, problem)
        self.record_id = record_id
        self.task_name = task_name
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"{self.task_name} ({self.record_id}) has completed, and its result does not fit the return annotation: "
            f"{self.problem}. Correct the annotation, or read the result as it is stored: record.result."
        )


class WaitTimeoutError(QueueError, TimeoutError):
    """The record had not ended when the time to wait was up; it goes on all the same."""

    def __init__(self, record_id: UUID, status: str, timeout: float) -> None:
        super().__init__(record_id, status, timeout)
        self.record_id = record_id
        self.status = status
        self.timeout = timeout

    def __str__(self) -> str:
        advice = "Is a worker running for its queue?" if self.status == "pending" else "It may still end."
        return f"Record {self.record_id} is {self.status} after {self.timeout:g} s. {advice}"


class StorageError(QueueError):
    """The queue backend's database cannot be used; the message says why and what to do."""


class SchemaError(StorageError):
    """The database's schema is older than the code and may not be migrated here, or newer than the code."""
