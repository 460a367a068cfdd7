"""Checks at the start of a worker that providers exist for the parameters of its tasks."""

from collections.abc import Iterable

from lq_core.foundation.errors import MissingProviderError, TaskDefinitionError
from lq_core.foundation.event_log import event_log
from lq_core.service import QueueService
from lq_core.tasks.known_tasks import known_tasks
from lq_core.tasks.provider import type_name
from lq_core.tasks.task import AnyTask

log = event_log()


def check_providers(service: QueueService) -> None:
    """
    Raise MissingProviderError if a task of the task modules needs a missing provider; for other tasks, only log it.

    Other tasks may be imported by chance, and run in another worker.
    """
    modules = service.config.task_modules
    for task in known_tasks().values():
        for parameter, kind in _missing(service, task):
            if any(f"{task.function.__module__}.".startswith(f"{module}.") for module in modules):
                raise MissingProviderError(task.name, parameter, type_name(kind))
            facts = {"task_name": task.name, "parameter": parameter, "type": type_name(kind)}
            log.warning("worker.provider_missing", extra=facts)


def _missing(service: QueueService, task: AnyTask) -> Iterable[tuple[str, object]]:
    try:
        return service.missing_values(task).items()
    except TaskDefinitionError:
        return ()  # Only its own records fail with this error.
