"""The modules that define an application's tasks: importing one registers its tasks."""

from collections.abc import Iterable

from lq_core.errors import ConfigurationError
from lq_core.import_path import import_of_application


def import_tasks(modules: Iterable[str]) -> None:
    """Import every module. Raises ConfigurationError when one is not there, or raises."""
    for module in modules:
        try:
            import_of_application(module)
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"The task module {module!r} cannot be imported: {error}. "
                "Check QueueConfig(task_modules=...), and from which folder the program was started."
            ) from error
