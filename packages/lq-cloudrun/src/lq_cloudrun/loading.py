"""How a container finds its queue: by the name of a configuration, or of a function that makes one."""

import inspect
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import cast

from lq_cloudrun.container import Container
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.import_path import faults_told, import_of_application
from lq_core.service import QueueService


async def load_service(container: Container) -> QueueService:
    """
    Make the service that the environment names.

    Raises ConfigurationError when it names none, since a queue of its own would be empty for ever, or when what it
    names cannot be imported, or raises.
    """
    if container.config is not None:
        variable, found = f"{container.prefix}_CONFIG", load(container.config, f"{container.prefix}_CONFIG")
    elif container.config_factory is not None:
        variable = f"{container.prefix}_CONFIG_FACTORY"
        found = await _call(container.config_factory, variable)
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
    found: object = _imported(module, f"{variable} is {path!r}")
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise ConfigurationError(f"{variable} is {path!r}, but there is no {name!r} in {found!r}.") from error
    return found


def import_modules(names: Iterable[str], variable: str) -> None:
    """Import modules that define tasks. Raises ConfigurationError, which names *variable*."""
    for name in names:
        _imported(name, f"{variable} names {name!r}")


async def _call(path: str, variable: str) -> object:
    factory = load(path, variable)
    if not callable(factory):
        raise ConfigurationError(f"{variable} names {factory!r}, which is not a function.")
    module, _, name = path.partition(":")
    with faults_told(f"Calling {path}, as {variable} says,", see=f'python -c "import {module}; {module}.{name}()"'):
        made = cast("Callable[[], object]", factory)()
        return await cast("Awaitable[object]", made) if inspect.isawaitable(made) else made


def _imported(name: str, said: str) -> ModuleType:
    try:
        return import_of_application(name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{said}, but there is no module {error.name!r}; it was looked for in {Path.cwd()} and on PYTHONPATH."
        ) from error
