"""Enqueue a task after the transaction of a SQLAlchemy session was committed."""

from collections.abc import Iterable
from typing import Any, Final, ParamSpec, TypeVar, cast

from lq_core import ConfigurationError, QueueError, QueueService, Task
from lq_core.foundation.event_log import event_log
from lq_core.service.new_records import check_task
from lq_core.tasks.call import TaskCall

Params = ParamSpec("Params")
Result = TypeVar("Result")

log = event_log()

WAITING: Final = "lq_calls_after_commit"
"""The key of the waiting calls in ``session.info``."""


class Waiting:
    """The calls of one session that wait for its commit, each with the transaction or savepoint it was made in."""

    def __init__(self, queue_service: QueueService) -> None:
        self.queue_service = queue_service
        self.calls: list[tuple[Any, TaskCall[Any]]] = []

    def committed(self, session: Any) -> None:
        """Enqueue the calls, in the middle of ``await session.commit()``, if this is not the end of a savepoint."""
        if session.in_nested_transaction() or not self.calls:
            return
        from sqlalchemy.util import await_only  # noqa: PLC0415 -- only an application with SQLAlchemy gets here

        calls, self.calls = [call for _, call in self.calls], []
        try:
            await_only(self.queue_service.enqueue_many(calls))
        except QueueError:
            # Advanced Alchemy commits after the handler, and hides every error of the commit.
            log.exception("enqueue.after_commit_failed", extra={"tasks": [call.task_name for call in calls]})
            raise

    def rolled_back(self, _: Any, transaction: Any) -> None:
        """Forget the calls that were made in a transaction or savepoint that was rolled back."""
        self.calls = [(made_in, call) for made_in, call in self.calls if transaction not in _and_outer(made_in)]

    def ended(self, _: Any, transaction: Any) -> None:
        """Forget the calls of a transaction that was closed without a commit."""
        if transaction.parent is None:
            self.calls.clear()


def enqueue_after_commit(
    queue_service: QueueService,
    session: object,
    task: Task[Params, Result],
    /,
    *args: Params.args,
    **kwargs: Params.kwargs,
) -> None:
    """
    Enqueue a call of *task* right after the transaction of *session*, an ``AsyncSession``, was committed.

    It is for records that are in another database than the rows of the application, such as SQLite; in the same
    PostgreSQL database, prefer ``await queue_service.within(session).enqueue(task, ...)``. A rollback, also one to a
    savepoint around this call, drops the call. If the process dies between the commit and the enqueue, the call is
    lost; if the store fails, that is logged, and ``await session.commit()`` raises its error although the rows are
    committed.

    Errors that ``QueueService.enqueue`` raises without the database, for example for a wrong argument, are raised at
    once. Raises ConfigurationError if *session* is not an ``AsyncSession``.
    """
    plain: Any = getattr(session, "sync_session", None)
    if plain is None:
        raise ConfigurationError(
            f"{session!r:.200} is not an AsyncSession of SQLAlchemy. With a plain Session, commit it, then enqueue."
        )
    check_task(task)
    call = task.call(*args, **kwargs)
    queue_service.check([call])
    made_in = plain.get_nested_transaction() or plain.get_transaction()
    _waiting(plain, queue_service).calls.append((made_in, call))


def _waiting(plain: Any, queue_service: QueueService) -> Waiting:
    """Return the waiting calls of a session, which has one listener for each service."""
    by_service = cast("dict[QueueService, Waiting]", plain.info.setdefault(WAITING, {}))
    if queue_service not in by_service:
        from sqlalchemy import event  # noqa: PLC0415 -- as above

        waiting = by_service[queue_service] = Waiting(queue_service)
        event.listen(plain, "after_commit", waiting.committed)
        event.listen(plain, "after_soft_rollback", waiting.rolled_back)
        event.listen(plain, "after_transaction_end", waiting.ended)
    return by_service[queue_service]


def _and_outer(transaction: Any) -> Iterable[Any]:
    """Yield a transaction and those around it."""
    while transaction is not None:
        yield transaction
        transaction = transaction.parent
