"""The modules that define an application's tasks: importing one registers its tasks."""

from collections.abc import Iterable
from importlib import import_module

from lq_core.errors import ConfigurationError


def import_tasks(modules: Iterable[str]) -> None:
    """Import every module. Raises ConfigurationError when one is not there, and what a module itself raises."""
    for module in modules:
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ConfigurationError(
                f"The task module {module!r} cannot be imported: {error}. "
                "Check QueueConfig(task_modules=...), and from which folder the program was started."
            ) from error
