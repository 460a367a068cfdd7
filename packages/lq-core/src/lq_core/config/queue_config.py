"""The settings of an application: one value, checked when it is made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final, Protocol, Self, TypeAlias, runtime_checkable

from msgspec import Meta

from lq_core.foundation.duration import Duration, StoredAs, duration, seconds
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.validation import (
    Count,
    PositiveSeconds,
    PositiveSecondsField,
    SecondsField,
    check,
    refuse_unknown_fields,
    unknown_name,
    wrong,
)
from lq_core.records.record import TERMINAL, Limits, TaskStatus
from lq_core.tasks.middleware import Middleware
from lq_core.tasks.more_types import TypeDecoders, TypeEncoders, add_types
from lq_core.tasks.provider import Provider, by_type


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


MAIN: Final = "main"
"""The store that ``QueueConfig.queue_backend`` configures, in which all queues without a route are."""

_DAY = 86_400.0
_RETENTION = dict.fromkeys(TERMINAL, _DAY) | {TaskStatus.FAILED: 14 * _DAY}
_ONE_BACKEND = Meta(description="a name, an import path, or a typed configuration")
_ExecutionBackends: TypeAlias = Annotated[
    tuple[ExecutionBackendConfig, ...],
    Meta(description="a tuple of names or typed configurations, such as ('cloudrun',)"),
]
_NotEmpty: TypeAlias = Annotated[str, Meta(min_length=1)]
_Stores: TypeAlias = Annotated[
    Mapping[str, QueueBackendConfig],
    Meta(description='a dict from names to queue backends, such as {"bulk": PostgresConfig(dsn=...)}'),
]
_Routes: TypeAlias = Annotated[
    Mapping[_NotEmpty, _NotEmpty],
    Meta(description='a dict from the names of queues to the names of stores, such as {"mail": "bulk"}'),
]
_Modules: TypeAlias = Annotated[
    tuple[_NotEmpty, ...], Meta(description="a tuple of the names of modules, such as ('shop.tasks',)")
]
_Queues: TypeAlias = Annotated[
    tuple[_NotEmpty, ...], Meta(min_length=1, description="a tuple of the names of queues, such as ('mail',)")
]
_QueueLimits: TypeAlias = Annotated[
    Mapping[_NotEmpty, Limits],
    Meta(description='a dict from the names of queues to Limits, such as {"mail": Limits(concurrency=5)}'),
]
_Middleware: TypeAlias = Annotated[
    tuple[Middleware, ...],
    Meta(description="a tuple of objects with `async def __call__(context, proceed)`, not classes: (Metrics(),)"),
]
_Providers: TypeAlias = Annotated[
    tuple[Provider[Any], ...],
    Meta(description="a tuple of functions with @per_worker or @per_attempt: (pool, session)"),
]
_TypeEncoders: TypeAlias = Annotated[
    TypeEncoders, Meta(description="a dict from types to functions that make plain data, such as {Money: str}")
]
_TypeDecoders: TypeAlias = Annotated[
    TypeDecoders,
    Meta(description="a list of pairs of functions: [(lambda kind: kind is Money, lambda kind, data: Money(data))]"),
]
_ENDED = ", ".join(sorted(TERMINAL))
_Retention: TypeAlias = Annotated[
    Mapping[TaskStatus, Duration],
    Meta(description=f"a dict such as {{TaskStatus.FAILED: 86_400}}, with seconds, not negative, for: {_ENDED}"),
]
_RetentionCount: TypeAlias = Annotated[
    Mapping[TaskStatus, Annotated[int, Meta(ge=0)]],
    Meta(description=f"a dict such as {{TaskStatus.FAILED: 10_000}}, with counts, not negative, for: {_ENDED}"),
]


@refuse_unknown_fields
@dataclass(frozen=True, kw_only=True)
class QueueConfig:
    """
    Where records are stored, where they run, and how long lq waits for what.

    ``QueueConfig()`` keeps records in the SQLite file ``lq.db`` of the working directory (``LQ_SQLITE_PATH``
    for another) and runs them in local workers. Durations are seconds or a ``timedelta``, and stored in seconds.

    Raises ConfigurationError if a value cannot work; the message names it.
    """

    queue_backend: Annotated[QueueBackendConfig, _ONE_BACKEND] = "sqlite"
    """The store ``"main"``, or the one that :meth:`of_store` has chosen."""

    stores: _Stores = field(default_factory=dict[str, QueueBackendConfig])
    """More stores by name, each with a database of its own; open all of them with ``RoutedQueueService``."""

    routes: _Routes = field(default_factory=dict[str, str])
    """The stores of queues, by queue. A queue without a route is in the store ``"main"``."""

    store: Annotated[str | None, Meta(description="the name of a store")] = None
    """The one store that this configuration is for, as :meth:`of_store` sets it; None for all."""

    execution_backend: Annotated[ExecutionBackendConfig, _ONE_BACKEND] = "local"
    """Where a record runs if its task has no option *execution_backend*."""

    execution_backends: _ExecutionBackends = ()
    """Typed configurations of the other execution backends of tasks."""

    task_modules: _Modules = ()
    """Modules that define tasks, imported when the service opens."""

    queues: _Queues | None = None
    """The queues that a worker serves; None for all."""

    concurrency: Count = 20
    """How many local records one worker runs at once."""

    queue_limits: _QueueLimits = field(default_factory=dict[str, Limits])
    """The limits of queues, over all workers; set when a worker starts, and kept until changed."""

    priority_aging: StoredAs[Duration | None, PositiveSeconds | None] = StoredAs(None, seconds)
    """
    The priority of a due record rises by one each time it has waited this long; None for no aging.

    Workers with this setting raise the priorities of the records that they could claim. Give all workers the same.
    """

    poll_interval: PositiveSecondsField = duration(1.0)
    """The longest time between two searches for due records when no wake-up arrives."""

    heartbeat_interval: PositiveSecondsField = duration(5.0)
    heartbeat_timeout: SecondsField = duration(30.0)
    """A worker without a heartbeat for this long is dead, and its records are rescued."""

    shutdown_grace: SecondsField = duration(20.0)
    """How long a worker that shuts down lets running tasks finish before it interrupts them."""

    unknown_task_patience: SecondsField = duration(_DAY)
    """
    How long a record waits for a worker that knows its task and can read its arguments, before it fails.

    It counts from the first worker that could not. 0 fails the record at once.
    """

    max_payload_bytes: Count = 1_000_000
    """The limit for the encoded arguments of a call, and for an encoded result."""

    middleware: _Middleware = ()
    """Code that wraps every attempt, outermost first."""

    providers: _Providers = ()
    """Functions with ``@per_worker`` or ``@per_attempt`` that open the values to inject."""

    type_encoders: _TypeEncoders = field(default_factory=dict[type[Any], Callable[[Any], Any]])
    """
    Functions that turn values of other types into plain data, in arguments and results; subclasses count.

    They and *type_decoders* are known in the whole process as soon as the configuration is made. Make it before the
    tasks that use the types.
    """

    type_decoders: _TypeDecoders = ()
    """Pairs of a test of a type, and a function from this type and plain data to a value."""

    retention: _Retention = field(default_factory=lambda: {**_RETENTION})
    """How long ended records are kept, by status; a missing or infinite time keeps them for ever."""

    retention_count: _RetentionCount = field(default_factory=lambda: dict.fromkeys(TERMINAL, 1_000_000))
    """How many ended records are kept at most, by status; the oldest go first. A missing status has no limit."""

    def __post_init__(self) -> None:
        check(self)
        self._check_stores()
        for queue, limits in self.queue_limits.items():
            if not isinstance(limits, Limits):  # pyright: ignore[reportUnnecessaryIsInstance] -- a dict passes the check
                raise wrong(QueueConfig, "queue_limits", {queue: limits})
            limits.check()
        if self.heartbeat_timeout < 2 * self.heartbeat_interval:
            raise ConfigurationError(
                f"heartbeat_timeout is {self.heartbeat_timeout:g} s, heartbeat_interval {self.heartbeat_interval:g} s; "
                "a worker must be able to miss one beat: make the timeout at least twice the interval."
            )
        typed: dict[str, ExecutionBackendSettings] = {}
        for backend in (self.execution_backend, *self.execution_backends):
            if not isinstance(backend, str) and typed.setdefault(backend.execution_backend, backend) != backend:
                raise ConfigurationError(
                    f"execution_backends has two configurations of {backend.execution_backend!r}. Leave one out."
                )
        if not all(seconds(kept) >= 0 for kept in self.retention.values()):
            raise wrong(QueueConfig, "retention", self.retention)
        for name, values in (("retention", self.retention), ("retention_count", self.retention_count)):
            if not TERMINAL.issuperset(values):
                raise wrong(QueueConfig, name, values)
        if any(isinstance(layer, type) for layer in self.middleware):
            raise wrong(QueueConfig, "middleware", self.middleware)
        by_type(self.providers)
        add_types(self.type_encoders, self.type_decoders)

    @property
    def has_several_stores(self) -> bool:
        """Whether this is the configuration of several stores, and not of one of them."""
        return bool(self.stores) and self.store is None

    @property
    def own_store(self) -> str:
        """The name of the store that *queue_backend* configures."""
        return self.store or MAIN

    def store_of(self, queue: str) -> str:
        """Return the name of the store that new records of a queue go to."""
        return self.routes.get(queue, MAIN)

    def of_store(self, name: str) -> Self:
        """
        Return the configuration of one store, for its workers, its dashboard and its commands.

        Raises ConfigurationError if there is no such store, or if this is the configuration of another store.
        """
        self._check_store(name)
        if name == self.store:
            return self
        if self.store is not None:
            raise ConfigurationError(
                f"This is the configuration of the store {self.store!r} alone. "
                f"Make that of {name!r} from the configuration of all stores."
            )
        return replace(self, queue_backend=self.queue_backend if name == MAIN else self.stores[name], store=name)

    def check_store_is_chosen(self) -> None:
        """Raise ConfigurationError if this is the configuration of several stores."""
        if self.has_several_stores:
            name = next(iter(self.stores))
            raise ConfigurationError(
                f"This needs one store, and the configuration has several: {', '.join((MAIN, *self.stores))}. Name one "
                f"in your module, as in `{name} = config.of_store({name!r})`, and give its configuration."
            )

    def _check_stores(self) -> None:
        if MAIN in self.stores:
            raise ConfigurationError(f"The store {MAIN!r} is the queue_backend. Give the one in stores another name.")
        for queue, store in self.routes.items():
            self._check_store(store, said=f"routes sends the queue {queue!r} to the store {store!r}. ")
        self._check_store(self.own_store)
        if self.store is not None and self.queue_backend != self.stores.get(self.store, self.queue_backend):
            raise ConfigurationError(
                f"store is {self.store!r}, and queue_backend is not the one of this store in stores. "
                f"Use config.of_store({self.store!r})."
            )

    def _check_store(self, name: str, *, said: str = "") -> None:
        if name not in {MAIN, *self.stores}:
            raise ConfigurationError(f"{said}{unknown_name('store', name, [MAIN, *self.stores])}")


def checked(config: QueueConfig | None) -> QueueConfig:
    """Return *config*, or the default one. Raises TypeError if it is not a QueueConfig."""
    if config is not None and not isinstance(config, QueueConfig):  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
        raise TypeError(f"{config!r:.200} is not a QueueConfig; give QueueConfig(queue_backend=...).")
    return config or QueueConfig()
