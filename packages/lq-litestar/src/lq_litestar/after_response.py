"""Enqueue a task after the client has the response."""

from typing import ParamSpec, TypeVar

from litestar.background_tasks import BackgroundTask

from lq_core import QueueService, Task
from lq_core.service.new_records import check_task

Params = ParamSpec("Params")
Result = TypeVar("Result")


def enqueue_after_response(
    queue_service: QueueService, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> BackgroundTask:
    """
    Make a background task for a response that enqueues a call of *task* after the response was sent.

    The client does not wait for the store, and gets no error if it fails. If the process dies in between, the call is
    lost. If the client has to rely on the response, enqueue in the handler.

    Errors that ``QueueService.enqueue`` raises without the database, for example for a wrong argument, are raised at
    once.
    """
    check_task(task)
    call = task.call(*args, **kwargs)
    queue_service.check([call])
    return BackgroundTask(queue_service.enqueue_many, [call])
