"""One call of each coroutine method of the service, of a result, and of a worker."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import shop
from lq_core import QueueService, RecordFilter, TaskResult, Worker

Call = Callable[[QueueService, TaskResult[int]], Awaitable[object]]

CALLS: Final[Mapping[str, Call]] = {
    "actions": lambda service, _: service.actions(),
    "cancel": lambda service, sent: service.cancel(sent.id),
    "cancel_many": lambda service, _: service.cancel_many(RecordFilter(task_names=("nobody",))),
    "close": lambda service, _: service.close(),
    "count": lambda service, _: service.count(),
    "delete_many": lambda service, _: service.delete_many(RecordFilter(task_names=("nobody",))),
    "demand": lambda service, _: service.demand(),
    "drain": lambda service, _: service.drain("nobody", timeout=1),
    "enqueue": lambda service, _: service.enqueue(shop.add, 1, 2),
    "enqueue_by_name": lambda service, _: service.enqueue_by_name("shop.add", 1, 2),
    "enqueue_many": lambda service, _: service.enqueue_many([shop.add.call(1, 2), shop.add.call(3, 4)]),
    "execution_backend": lambda service, _: service.execution_backend("local"),
    "execution_backends": lambda service, _: service.execution_backends(),
    "find": lambda service, _: service.find(),
    "get": lambda service, sent: service.get(sent.id),
    "limit_queue": lambda service, _: service.limit_queue("nobody", concurrency=1),
    "next_times": lambda service, _: service.next_times("nobody"),
    "note_action": lambda service, _: service.note_action("pause queue", "nobody", actor="ada"),
    "open": lambda service, _: service.open(),
    "pause": lambda service, _: service.pause("nobody"),
    "pause_schedule": lambda service, _: service.pause_schedule("nobody"),
    "queues": lambda service, _: service.queues(),
    "resume": lambda service, _: service.resume("nobody"),
    "resume_schedule": lambda service, _: service.resume_schedule("nobody"),
    "retry": lambda service, sent: service.retry(sent.id),
    "signal": lambda service, sent: service.signal(sent.id, "approved"),
    "retry_many": lambda service, _: service.retry_many(RecordFilter(task_names=("nobody",))),
    "rollups": lambda service, _: service.rollups(),
    "run_schedule": lambda service, _: service.run_schedule("nobody"),
    "schedules": lambda service, _: service.schedules(),
    "statistics": lambda service, _: service.statistics(),
    "swap": lambda service, sent: service.swap(sent.record, sent.record),
    "wait": lambda service, sent: service.wait(sent.id, timeout=5),
    "workers": lambda service, _: service.workers(),
    "result.refresh": lambda _, sent: sent.refresh(),
    "result.wait": lambda _, sent: sent.wait(timeout=5),
    "worker": lambda service, _: Worker(service).run(),
}

CLOSING: Final = {"close", "open", "worker"}
"""The calls that are not answered at once, or end what the others need."""
