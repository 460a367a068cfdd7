"""How a container finds its queue: by the name of a configuration, or of a function that makes one."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from importlib import import_module
from typing import cast

from lq_cloudrun.container import Container
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.service import QueueService


async def load_service(container: Container) -> QueueService:
    """
    Make the service that the environment names.

    Raises ConfigurationError when it names none, since a queue of its own would be empty for ever, or when what it
    names cannot be imported.
    """
    if container.config is not None:
        variable, found = f"{container.prefix}_CONFIG", load(container.config, f"{container.prefix}_CONFIG")
    elif container.config_factory is not None:
        variable = f"{container.prefix}_CONFIG_FACTORY"
        factory = load(container.config_factory, variable)
        if not callable(factory):
            raise ConfigurationError(f"{variable} names {factory!r}, which is not a function.")
        found = cast("Callable[[], object]", factory)()
        found = await cast("Awaitable[object]", found) if inspect.isawaitable(found) else found
    else:
        raise ConfigurationError(
            f"The container does not know its queue: set {container.prefix}_CONFIG to the module and name of a "
            f"QueueConfig, such as shop.queue:config, or {container.prefix}_CONFIG_FACTORY to those of a function."
        )
    if isinstance(found, QueueService):
        return found
    if isinstance(found, QueueConfig):
        return QueueService(found)
    raise ConfigurationError(f"{variable} leads to {found!r}, which is neither a QueueConfig nor a QueueService.")


def load(path: str, variable: str) -> object:
    """Import ``module:attribute``. Raises ConfigurationError, which names *variable*."""
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        raise ConfigurationError(f"{variable} is {path!r}; write it as module:attribute, such as shop.queue:config.")
    try:
        found: object = import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ConfigurationError(
            f"{variable} is {path!r}, which cannot be imported: {type(error).__name__}: {error}. "
            "Is the module in the image, and in the working directory or on PYTHONPATH?"
        ) from error
    return found


def import_modules(names: Iterable[str]) -> None:
    """Import modules that define tasks. Raises ConfigurationError."""
    for name in names:
        try:
            import_module(name)
        except Exception as error:  # as above
            raise ConfigurationError(
                f"The task module {name!r} cannot be imported: {type(error).__name__}: {error}."
            ) from error
