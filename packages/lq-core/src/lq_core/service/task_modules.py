"""The modules that define an application's tasks: importing one registers its tasks."""

from collections.abc import Iterable

from lq_core.foundation.import_path import import_of_application


def import_tasks(modules: Iterable[str]) -> None:
    """Import every module. Raises ConfigurationError if one does not exist, or raises."""
    for module in modules:
        import_of_application(module, said=f"QueueConfig(task_modules=...) names {module!r}")
