"""What an application says about its queue: one value, checked when it is made."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from lq_core.clock import LONGEST_WAIT
from lq_core.errors import ConfigurationError
from lq_core.middleware import Middleware
from lq_core.provider import Provider, by_type
from lq_core.record import TERMINAL, Limits, TaskStatus, check_count


@runtime_checkable
class QueueBackendSettings(Protocol):
    """The typed configuration of one queue backend; it names the backend it configures."""

    @property
    def queue_backend(self) -> str:
        """The short name or import path of the queue backend class."""
        ...


@runtime_checkable
class ExecutionBackendSettings(Protocol):
    """The typed configuration of one execution backend; it names the backend it configures."""

    @property
    def execution_backend(self) -> str:
        """The short name or import path of the execution backend class."""
        ...


QueueBackendConfig: TypeAlias = str | QueueBackendSettings
"""A short name (``"sqlite"``), an import path, or a typed configuration."""

ExecutionBackendConfig: TypeAlias = str | ExecutionBackendSettings
"""A short name (``"local"``), an import path, or a typed configuration."""


def _default_retention() -> Mapping[TaskStatus, float]:
    day = 86_400.0
    return {
        TaskStatus.COMPLETED: day,
        TaskStatus.CANCELLED: day,
        TaskStatus.EXPIRED: day,
        TaskStatus.FAILED: 14 * day,
    }


def _default_retention_count() -> Mapping[TaskStatus, int]:
    return dict.fromkeys(TERMINAL, 1_000_000)


_KEYS: Final = {
    "queue_limits": '"mail": Limits(concurrency=5)',
    "retention": "TaskStatus.FAILED: 86_400",
    "retention_count": "TaskStatus.FAILED: 10_000",
}


@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """
    Where records are stored, where they run, and how patient everybody is.

    ``QueueConfig()`` keeps records in the SQLite file ``lq.db`` of the working directory (``LQ_SQLITE_PATH``
    for another) and runs them in local workers. Durations are in seconds.

    Raises ConfigurationError when a value cannot work; the message names it.
    """

    queue_backend: QueueBackendConfig = "sqlite"
    execution_backend: ExecutionBackendConfig = "local"
    """Where a record runs whose task names no execution backend."""

    execution_backends: tuple[ExecutionBackendConfig, ...] = ()
    """Typed configurations of the other execution backends that tasks may name."""

    task_modules: tuple[str, ...] = ()
    """Modules that define tasks, imported when the service opens."""

    queues: tuple[str, ...] | None = None
    """The queues that a worker serves; None for every queue there is."""

    concurrency: int = 20
    """How many local records one worker runs at once."""

    queue_limits: Mapping[str, Limits] = field(default_factory=dict[str, Limits])
    """What the records of a queue share, over all workers; set when a worker starts, and kept until it is changed."""

    poll_interval: float = 1.0
    """The longest time between two looks for work when no wake-up arrives."""

    heartbeat_interval: float = 5.0
    heartbeat_timeout: float = 30.0
    """A worker that has not been heard of for this long is dead, and its records are rescued."""

    shutdown_grace: float = 20.0
    """How long a stopping worker lets running tasks finish before it gives their records back."""

    max_payload_bytes: int = 1_000_000
    """The limit for one call's encoded arguments, and for one encoded result."""

    middleware: tuple[Middleware, ...] = ()
    """What stands around every attempt, outermost first."""

    providers: tuple[Provider[Any], ...] = ()
    """Functions with ``@per_worker`` or ``@per_attempt`` that open what tasks ask for by annotation."""

    retention: Mapping[TaskStatus, float] = field(default_factory=_default_retention)
    """How long ended records are kept, by status; one that is missing, or infinite, is kept for ever."""

    retention_count: Mapping[TaskStatus, int] = field(default_factory=_default_retention_count)
    """How many ended records are kept at most, by status; the oldest go first. One that is missing has no limit."""

    def __post_init__(self) -> None:
        _backend("queue_backend", self.queue_backend, QueueBackendSettings)
        _backend("execution_backend", self.execution_backend, ExecutionBackendSettings)
        check_count("concurrency", self.concurrency)
        check_count("max_payload_bytes", self.max_payload_bytes)
        for name in ("poll_interval", "heartbeat_interval", "heartbeat_timeout", "shutdown_grace"):
            _seconds(name, getattr(self, name))
        _positive("poll_interval", self.poll_interval)
        _positive("heartbeat_interval", self.heartbeat_interval)
        if self.heartbeat_timeout < 2 * self.heartbeat_interval:
            raise ConfigurationError(
                f"heartbeat_timeout is {self.heartbeat_timeout:g} s, heartbeat_interval {self.heartbeat_interval:g} s; "
                "a worker must be able to miss one beat: make the timeout at least twice the interval."
            )
        _several(
            "execution_backends", self.execution_backends, example="cloudrun", kinds=(str, ExecutionBackendSettings)
        )
        _one_of_each((self.execution_backend, *self.execution_backends))
        _several("task_modules", self.task_modules, example="shop.tasks")
        if self.queues is not None:
            _several("queues", self.queues, example="mail")
        if self.queues is not None and not self.queues:
            raise ConfigurationError(f"queues is {self.queues!r}; name a queue, or give None for all of them.")
        _middleware(self.middleware)
        if not isinstance(self.providers, tuple):  # pyright: ignore[reportUnnecessaryIsInstance] -- not everybody has types checked
            raise ConfigurationError(f"providers is {self.providers!r}; it must be a tuple: (pool, session).")
        by_type(self.providers)
        _limits(self.queue_limits)
        _by_ended_status("retention", self.retention, of="seconds")
        _by_ended_status("retention_count", self.retention_count, of="numbers of records")


def checked(config: QueueConfig | None) -> QueueConfig:
    """Return a configuration, or the one by default. Raises TypeError, with the way, for what is none."""
    if config is not None and not isinstance(config, QueueConfig):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
        raise TypeError(f"{config!r:.200} is no QueueConfig; give QueueConfig(queue_backend=...).")
    return config or QueueConfig()


def _limits(values: Mapping[str, Limits]) -> None:
    _mapping("queue_limits", values)
    for queue, limits in values.items():
        if not isinstance(queue, str) or not queue or not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(
                f"queue_limits says {queue!r}: {limits!r}; it takes the names of queues, and Limits(...) for each."
            )


def _by_ended_status(name: str, values: Mapping[TaskStatus, float], *, of: str) -> None:
    _mapping(name, values)
    for status, value in values.items():
        if status not in TERMINAL or not isinstance(value, (int, float)) or not value >= 0:  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            ended = ", ".join(sorted(TERMINAL))
            raise ConfigurationError(f"{name} says {status!r}: {value!r}; it takes {of}, not negative, for: {ended}.")


def _backend(name: str, value: object, settings: type) -> None:
    if not isinstance(value, (str, settings)):
        raise ConfigurationError(f"{name} is {value!r}; it must be a name, an import path, or a typed configuration.")


def _one_of_each(backends: Iterable[ExecutionBackendConfig]) -> None:
    typed: dict[str, ExecutionBackendSettings] = {}
    for backend in backends:
        if not isinstance(backend, str) and typed.setdefault(backend.execution_backend, backend) != backend:
            raise ConfigurationError(
                f"execution_backends has two configurations of {backend.execution_backend!r}, by which name records "
                "are sent to one of them; leave one out."
            )


def _middleware(value: object) -> None:
    layers = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (type,)
    if any(isinstance(layer, type) or not callable(layer) for layer in layers):
        raise ConfigurationError(
            f"middleware is {value!r}; it takes a tuple of objects that are called as "
            "`async def __call__(context, proceed)`, made beforehand: (Metrics(),)."
        )


def _mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} is {value!r}; it must be a dict, such as {{{_KEYS[name]}}}.")


def _several(name: str, values: Collection[object], *, example: str, kinds: tuple[type, ...] = (str,)) -> None:
    is_one = isinstance(values, kinds)
    if is_one or not isinstance(values, Collection) or not all(isinstance(one, kinds) and one for one in values):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
        what = "names" if kinds == (str,) else "names or typed configurations"
        raise ConfigurationError(
            f"{name} is {values!r}; it must be a tuple of {what}: ({values if is_one else example!r},)."
        )


def _seconds(name: str, value: object) -> None:
    # Written so that it also refuses what is not a number.
    if not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_WAIT:
        raise ConfigurationError(f"{name} is {value!r}; it must be a number of seconds from 0 to {LONGEST_WAIT:g}.")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ConfigurationError(f"{name} is {value!r}; it must be greater than 0.")
