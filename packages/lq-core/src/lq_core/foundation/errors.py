"""The errors that lq raises: each keeps its facts as attributes, and its message says what to do next."""

from collections.abc import Collection, Iterable
from typing import ClassVar, Final, dataclass_transform
from uuid import UUID

PACKAGES: Final = {
    "immediate": "lq-local",
    "local": "lq-local",
    "process": "lq-local",
    "cloudrun": "lq-cloudrun",
    "postgres": "lq-postgres",
}
"""The packages that bring the backends outside lq-core."""


class QueueError(Exception):
    """The base of every error of lq."""


class ConfigurationError(QueueError, ValueError):
    """A setting has a value that cannot work."""


class TaskDefinitionError(QueueError, TypeError):
    """A function cannot become a task as it stands."""


class StorageError(QueueError):
    """
    The database of the queue backend cannot be used; the message says why and what to do.

    *is_permanent* says that it stays so until a person acts, as with a wrong password; a container does not try again.
    """

    def __init__(self, *args: object, is_permanent: bool = False) -> None:
        super().__init__(*args)
        self.is_permanent = is_permanent


class SchemaError(StorageError):
    """The schema of the database is older than the code and may not be migrated here, or newer than the code."""


@dataclass_transform(eq_default=False)
class _FactsError(QueueError):
    """An error whose arguments are the attributes that its class annotates, in this order."""

    text: ClassVar[str]
    """The message, with the attributes in braces."""

    _names: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls._names = (*cls._names, *cls.__annotations__)

    def __init__(self, *args: object, **named: object) -> None:
        facts = dict(zip(self._names, args, strict=False)) | named
        if len(args) + len(named) != len(self._names) or facts.keys() != set(self._names):
            raise TypeError(f"{type(self).__name__} takes: {', '.join(self._names)}.")
        super().__init__(*facts.values())
        self.__dict__.update(facts)

    def __str__(self) -> str:
        return self.text.format(**vars(self))


class UnknownTaskError(_FactsError, LookupError):
    """No task of this name is registered in this process."""

    name: str
    known: Collection[str]

    def __str__(self) -> str:
        otherwise = "Import the module that defines it, or name that module in QueueConfig(task_modules=...)."
        return f"No task is registered as {self.name!r}. {closest(self.name, self.known, otherwise)}"


class DuplicateTaskError(_FactsError, ValueError):
    """Two different functions claim one task name."""

    name: str
    first: str
    second: str
    text = (
        "The task name {name!r} belongs to {first} already; {second} claims it too. "
        "Give one of them another name: @task(name=...)."
    )


class UnknownScheduleError(_FactsError, LookupError):
    """No schedule of this name is declared in this process, or known to the queue backend."""

    name: str
    known: Collection[str]

    def __str__(self) -> str:
        otherwise = "A worker has to declare it first; to run it, import the module that declares it as well."
        return f"There is no schedule {self.name!r}. {closest(self.name, self.known, otherwise)}"


class DuplicateScheduleError(_FactsError, ValueError):
    """Two different schedules claim one name."""

    name: str
    text = "The schedule name {name!r} belongs to another schedule already. Give one of them another name."


class InvalidArgumentError(_FactsError, TypeError):
    """The arguments of a call do not fit the task's signature, or cannot be encoded as JSON."""

    task_name: str
    problem: str
    signature: str
    text = "{task_name}{signature} cannot be called like this: {problem}"


class MissingProviderError(_FactsError, LookupError):
    """A task or a provider asks for a value of a type that has no provider."""

    asker: str
    parameter: str
    kind: str
    text = (
        "{asker} asks for a {kind} as {parameter!r}, and there is no provider for it. "
        "Write a function that yields it, annotated `-> AsyncIterator[{kind}]`, decorate it with "
        "@per_worker or @per_attempt, and list it in QueueConfig(providers=(...,))."
    )


class PayloadTooLargeError(_FactsError, ValueError):
    """The encoded arguments or the encoded result are larger than ``QueueConfig.max_payload_bytes``."""

    what: str
    size: int
    limit: int
    text = (
        "{what} takes {size:,} bytes of JSON and the limit is {limit:,}. "
        "Store the data elsewhere and pass a reference, or raise QueueConfig(max_payload_bytes=...)."
    )


class UnknownBackendError(_FactsError, ValueError):
    """No backend of this kind has this short name here."""

    kind: str
    name: str
    known: Collection[str]

    def __str__(self) -> str:
        here = ", ".join(sorted(self.known)) or "none"
        otherwise = "Install the package that brings it, or give its import path: 'package.module:Class'."
        if self.name in PACKAGES:
            advice = f"Install it with: pip install {PACKAGES[self.name]}"
        else:
            advice = closest(self.name, {*self.known, *PACKAGES}, otherwise)
        return f"There is no {self.kind} backend {self.name!r} (here: {here}). {advice}"


class IllegalMoveError(_FactsError):
    """The status of a record does not allow this step."""

    record_id: UUID
    status: str
    step: str
    reason: str
    text = "Record {record_id} is {status} and cannot {step}: {reason}."


class RecordNotFoundError(_FactsError, LookupError):
    """There is no record with this id: it never existed, or retention has deleted it."""

    record_id: UUID
    text = (
        "There is no record {record_id}: the id is wrong, retention has deleted the record, or the "
        "transaction that stored it has not been committed."
    )


class OwnershipLostError(_FactsError):
    """The record has another owner or has ended, so this owner may not write to it any more."""

    record_id: UUID
    epoch: int
    text = (
        "Epoch {epoch} of record {record_id} is over: another owner has it, or it has ended. "
        "Nothing was written; stop working on it."
    )


class DuplicateKeyError(_FactsError, ValueError):
    """Another record holds the unique key, and the call asked for an error in this case."""

    key: str
    record_id: UUID
    text = (
        "Record {record_id} holds the key {key!r}, and on_conflict is 'reject'; "
        "with 'return_existing', the call returns that record."
    )


class DuplicateRecordError(_FactsError, ValueError):
    """A record with this id is stored already, or is twice in one batch; *detail* is the message of the store."""

    detail: str
    text = (
        "A record is stored already, or twice in one batch ({detail}); every record needs an id of its own. "
        "A call is enqueued once: make another one with task.call(...)."
    )


class TaskFailedError(_FactsError):
    """The task that you waited for has failed, was cancelled, or has expired."""

    record_id: UUID
    task_name: str
    status: str
    reason: str
    text = "{task_name} ({record_id}) is {status}: {reason}"


class InvalidResultError(_FactsError, TypeError):
    """The stored result of a completed task does not fit the task's return annotation."""

    record_id: UUID
    task_name: str
    problem: str
    text = (
        "{task_name} ({record_id}) has completed, and its result does not fit the return annotation: "
        "{problem}. Correct the annotation, or read the result as it is stored: record.result."
    )


class StepResultError(_FactsError, TypeError):
    """A step has run, and its result cannot be stored; the record fails, because a retry would run the step again."""

    name: str
    problem: str
    text = "The step {name!r} has run, and its result cannot be stored as JSON: {problem}"


class SignalTimeoutError(_FactsError, TimeoutError):
    """The signal for which a task waits has not come in time."""

    name: str
    text = "The signal {name!r} did not come in time."


class SignalNotStoredError(_FactsError, TimeoutError):
    """A record takes a signal only while nobody runs it, and it was running all the time."""

    record_id: UUID
    name: str
    status: str
    timeout: float
    text = (
        "Record {record_id} is still {status} after {timeout:g} s, and the signal {name!r} is not stored. "
        "Send it again when the record waits, or give a longer timeout."
    )


class WaitTimeoutError(_FactsError, TimeoutError):
    """The record had not ended when the time to wait was over; the record is not changed."""

    record_id: UUID
    status: str
    timeout: float

    def __str__(self) -> str:
        advice = "Is a worker running for its queue?" if self.status == "pending" else "It may still end."
        return f"Record {self.record_id} is {self.status} after {self.timeout:g} s. {advice}"


def closest(name: str, known: Iterable[str], otherwise: str = "", *, most: int = 1) -> str:
    """Suggest the known names that are most like *name*; return *otherwise* if none is."""
    close = alike(name, known, most=most)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else otherwise


def alike(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are like *name* by at least *cutoff* (0 to 1), the most alike first."""
    from difflib import get_close_matches  # noqa: PLC0415 -- it takes time, and most programs make no mistake

    return get_close_matches(name, list(known), n=most, cutoff=cutoff)
