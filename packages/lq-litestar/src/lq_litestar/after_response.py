"""Enqueuing when the client has its answer already."""

from typing import ParamSpec, TypeVar

from litestar.background_tasks import BackgroundTask

from lq_core import QueueService, Task
from lq_core.service.calls import check_task

Params = ParamSpec("Params")
Result = TypeVar("Result")


def enqueue_after_response(
    queue_service: QueueService, task: Task[Params, Result], /, *args: Params.args, **kwargs: Params.kwargs
) -> BackgroundTask:
    """
    Make the background task of a response that stores a call of *task* after the response was sent.

    The client does not wait for the store, and is not told when it fails: a process that dies between the two
    loses the call. From then on the record is as durable as any other, while a background task of Litestar's own
    is lost whenever its process ends. When the client must be able to rely on its answer, enqueue in the handler.

    What ``QueueService.enqueue`` refuses without asking the database is refused at once, with the same errors.
    """
    check_task(task)
    call = task.call(*args, **kwargs)
    queue_service.check([call])
    return BackgroundTask(queue_service.enqueue_many, [call])
