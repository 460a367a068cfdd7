"""The tasks that are registered in this process, by name."""

from collections.abc import Mapping
from typing import Final

from lq_core.foundation.errors import DuplicateTaskError, UnknownTaskError
from lq_core.foundation.import_path import path_of
from lq_core.tasks.task import AnyTask

_TASKS: Final[dict[str, AnyTask]] = {}


def register(task: AnyTask) -> None:
    """Register a task, or a newer copy of it. Raises DuplicateTaskError if another function has its name."""
    known = _TASKS.get(task.name)
    if known and path_of(known.function) != path_of(task.function):
        raise DuplicateTaskError(task.name, path_of(known.function), path_of(task.function))
    _TASKS[task.name] = task


def find_task(name: str) -> AnyTask:
    """Find a registered task. Raises UnknownTaskError, which names the closest one."""
    try:
        return _TASKS[name]
    except KeyError:
        raise UnknownTaskError(name, tuple(_TASKS)) from None


def is_known(name: str) -> bool:
    """Whether a task of this name is registered in this process."""
    return name in _TASKS


def known_tasks() -> Mapping[str, AnyTask]:
    """Return the tasks that are registered in this process, by name."""
    return dict(sorted(_TASKS.items()))
