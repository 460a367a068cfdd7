"""
How a container finds its queue and connects to it.

With direct VPC egress, the first connection of a container may take more than a minute.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final, TypeAlias, TypeVar, cast

from lq_cloudrun.container.environment import Container
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, SchemaError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.import_path import calling, is_factory, load
from lq_core.presence.presence import Presence
from lq_core.queue import BaseQueueBackend, Migrations
from lq_core.service import QueueService

Answer = TypeVar("Answer")
Made: TypeAlias = QueueService | QueueConfig | AbstractAsyncContextManager[QueueService | QueueConfig]
ServiceFactory: TypeAlias = Callable[[], Made | Awaitable[Made]]

log = event_log("lq.cloudrun")

PAUSES: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries to connect; the last one repeats."""


async def load_service(
    container: Container, config: QueueConfig | None, service_factory: ServiceFactory | None, opened: AsyncExitStack
) -> QueueService:
    """
    Make the service by *service_factory*, for *config*, or as the environment says.

    A factory makes a QueueService, a QueueConfig, or an async context manager of either, which *opened* closes; it may
    be async. Raises ConfigurationError if there is none of the three, because a queue of its own would always be
    empty, and if the path in the environment cannot be imported or raises.
    """
    if service_factory is not None:
        found, said = await _made(service_factory, opened), "service_factory returned"
    elif config is not None:
        found, said = config, "config is"
    else:
        found, said = await _load(container, opened)
    if not isinstance(found, (QueueConfig, QueueService)):
        raise ConfigurationError(f"{said} {found!r}, which is neither a QueueConfig nor a QueueService.")
    service = QueueService(found) if isinstance(found, QueueConfig) else found
    if service_factory is None or isinstance(found, QueueConfig):
        refuse_memory(service.queue_backend)
    return service


async def _load(container: Container, opened: AsyncExitStack) -> tuple[object, str]:
    variable, path = container.config_variable, container.config
    if path is None:
        raise ConfigurationError(
            f"The container does not know its queue: set {container.prefix}_CONFIG or {variable} to the module and "
            "name of a QueueConfig, or of a function that makes one, such as shop.queue:config."
        )
    module, dot, attribute = path.rpartition(".")
    if dot and ":" not in path:
        path = f"{module}:{attribute}"
    found = load(path, said=f"{variable} is {path!r}")
    must_be_called = variable.endswith("_FACTORY")
    if must_be_called and not callable(found):
        raise ConfigurationError(
            f"{variable} is {path!r}, which is a {type(found).__name__} and not a function. Name a function that "
            f"returns it, or set {container.prefix}_CONFIG instead."
        )
    if must_be_called or is_factory(found):
        with calling(path, why=f", as {variable} says,"):
            found = await _made(cast("Callable[..., object]", found), opened)
    return found, f"{variable} leads to"


async def _made(factory: Callable[..., object], opened: AsyncExitStack) -> object:
    made = factory()
    if inspect.isawaitable(made):
        made = await cast("Awaitable[object]", made)
    if isinstance(made, AbstractAsyncContextManager) and not isinstance(made, QueueService):
        made = await opened.enter_async_context(cast("AbstractAsyncContextManager[object]", made))
    return made


async def reach(step: Callable[[], Awaitable[Answer]], *, seconds: float) -> Answer:
    """Try a step again until the queue answers. Raises the StorageError or OSError of the last try."""
    until, tries = time.monotonic() + seconds, 0
    while True:
        try:
            return await step()
        except (StorageError, OSError) as error:
            is_permanent = isinstance(error, SchemaError) or (isinstance(error, StorageError) and error.is_permanent)
            if is_permanent or time.monotonic() >= until:
                raise
            log.warning("cloudrun.connecting", extra={"reason": str(error)})
            await asyncio.sleep(min(PAUSES[min(tries, len(PAUSES) - 1)], max(0.0, until - time.monotonic())))
            tries += 1


def refuse_memory(queue: BaseQueueBackend) -> None:
    """Raise ConfigurationError for a queue that no other process can reach."""
    if not queue.shared:
        raise ConfigurationError(
            "The queue keeps its records in the memory of one process, which containers of Cloud Run cannot reach: "
            "choose lq-postgres, or a SQLiteConfig where containers share its file, as with the emulator."
        )


async def connect(
    service: QueueService, *, seconds: float, queues: tuple[str, ...] | None = None, concurrency: int = 0
) -> Presence:
    """
    Open a service, and start a presence without execution backends, so that it takes no share of the pace.

    A container creates and migrates nothing: a new schema would be empty, and older workers could not use a newer one.
    Raises StorageError and OSError.
    """
    queue = service.queue_backend
    if isinstance(queue, Migrations):
        queue.may_migrate = False

    async def step() -> Presence:
        if queue.missing_file:
            raise StorageError(
                f"There is no queue at {queue.address}, and one made here would be empty. Does the "
                "configuration read the address of the queue from a variable that is not set?",
                is_permanent=True,
            )
        try:
            await service.open()
        except SchemaError as error:
            raise SchemaError(
                f"{error} (A container never changes the schema, and this image has {_version_of(queue)}. The queue is "
                f"{queue.address}: if it is not the queue of the dispatcher, correct the configuration instead.)"
            ) from error
        presence = service.new_presence(queues=queues, concurrency=concurrency)
        await presence.start(in_container=True)
        return presence

    return await reach(step, seconds=seconds)


def _version_of(queue: BaseQueueBackend) -> str:
    """Return the name and version of the package that brings a queue backend, as installed here."""
    from importlib import metadata  # noqa: PLC0415 -- only a container that cannot start needs it

    package = type(queue).__module__.partition(".")[0].replace("_", "-")
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package
