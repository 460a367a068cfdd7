"""What the tasks of a worker ask for has to be provided: better to hear so at the start than from a failed record."""

from collections.abc import Iterable

from lq_core.errors import MissingProviderError, TaskDefinitionError
from lq_core.event_log import event_log
from lq_core.provider import type_name
from lq_core.service import QueueService
from lq_core.task import AnyTask, known_tasks

log = event_log()


def check_providers(service: QueueService) -> None:
    """
    Refuse to work without a provider that a task of the task modules asks for; for other tasks, log that it is missing.

    The others may be there by chance, imported with something else, and run by another worker. Raises
    MissingProviderError.
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
        return service.injector.missing(task.codec.injected).items()
    except TaskDefinitionError:
        return ()  # Its own records fail with that; it is no reason to stop the others.
