"""
Starts, reads and cancels executions. It reads one by name, or all of a job in one sweep of the list.

Every call has a time limit. Nothing repeats a failed call, except the next look of the reconciler.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final
from uuid import UUID

from msgspec import DecodeError, json

from lq_cloudrun.clients import CloudRunClients
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions.ending import Ending, ending_of
from lq_cloudrun.executions.request import PullOrder
from lq_cloudrun.executions.status import containers_left, environment_of, status_of
from lq_cloudrun.executions.target import Targets
from lq_cloudrun.google.connection import check_request
from lq_cloudrun.google.refusal import Refusal, code_of, line_of, refusal_of
from lq_core.foundation.event_log import event_log
from lq_core.records.record import Fence, QueuedTaskRecord

log = event_log("lq.cloudrun")

PAGE_SIZE: Final = 200
"""How many executions one answer lists: each may have an environment of many kilobytes."""


class NotStartedError(Exception):
    """The call that starts an execution failed; *refusal* says whether an execution may exist."""

    def __init__(self, error: Exception, refusal: Refusal, *, began: float) -> None:
        super().__init__(str(error))
        self.error = error
        self.refusal = refusal
        self.began = began
        """When the call began, by ``time.monotonic()``."""


class Executions:
    """The executions of one configuration. The clients connect at the first call."""

    def __init__(
        self,
        config: CloudRunExecutionConfig,
        clients: Callable[[], Awaitable[CloudRunClients]],
    ) -> None:
        self.config = config
        self.targets = Targets(config)
        self._clients = clients

    async def start(self, request: dict[str, Any], **facts: object) -> Any:
        """Start an execution and return it; *facts* go into the log. Raises NotStartedError after any error."""
        # What an error in the current step means; during the call, the error itself says it.
        refusal: Refusal | None = Refusal.REFUSED
        began = time.monotonic()
        try:
            clients = await self._clients()
            refusal = Refusal.MISCONFIGURED
            check_request(request)
            refusal = None
            operation = await clients.jobs.run_job(request=request, timeout=self.config.rpc_timeout)
            refusal = Refusal.UNKNOWN  # There is an execution, even if the answer cannot be read.
            execution: Any = operation.metadata
            if not execution.name:
                raise ValueError("the execution has no name")  # noqa: TRY301 -- as for any answer that cannot be read
        except Exception as error:
            refusal = refusal or refusal_of(error)
            failed = {"error": line_of(error), "refusal": refusal.value}
            log.warning("cloudrun.run_job_failed", extra={**facts, **failed})
            raise NotStartedError(error, refusal, began=began) from error
        return execution

    async def get(self, name: str) -> Any | None:
        """Read one execution; None if Cloud Run does not know it, or no longer. Raises Google's other errors."""
        executions = (await self._clients()).executions
        try:
            return await executions.get_execution(name=name, timeout=self.config.rpc_timeout)
        except Exception as error:
            if code_of(error) == "NOT_FOUND":
                return None
            raise

    async def ending(self, execution: Any) -> Ending:
        """Describe how an execution ended. If its task cannot be read, the execution alone tells it."""
        status, task = status_of(execution), None
        try:
            tasks = (await self._clients()).tasks
            if tasks is not None and status.failed:
                name = f"{execution.name}/tasks/{execution.name.rpartition('/')[2]}-task0"
                task = await tasks.get_task(name=name, timeout=self.config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- the reason is worth a call, and no more
            log.info("cloudrun.task_unread", extra={"execution": execution.name, "error": line_of(error)})
        return ending_of(execution, task)

    async def stop(self, name: str) -> bool:
        """Cancel an execution. False if it has ended, if the client cannot cancel, or if the call fails."""
        executions = (await self._clients()).executions
        cancel = getattr(executions, "cancel_execution", None)
        if cancel is None:
            return False
        try:
            await cancel(name=name, timeout=self.config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- whatever the error, Cloud Run did not accept the call
            if code_of(error) not in {"NOT_FOUND", "FAILED_PRECONDITION"}:
                log.warning("cloudrun.cancel_failed", extra={"execution": name, "error": line_of(error)})
            return False
        return True

    async def of(self, record: QueuedTaskRecord, job: str) -> Any | None:
        """Find the execution of a reservation in the list of its job; None if it is not there."""
        sweep, reservation = self.sweep(job), (record.id, record.epoch)
        await sweep.read(frozenset(), {reservation})
        return sweep.reserved.get(reservation)

    async def pulling(self, job: str, queues: tuple[str, ...] | None) -> dict[str, int]:
        """Find the executions in pull mode on *queues* that have not ended, with how many containers have not."""
        return {
            execution.name: containers_left(execution)
            async for execution in self._list(job)
            if not status_of(execution).ended and self._pulls(execution, queues)
        }

    def _pulls(self, execution: Any, queues: tuple[str, ...] | None) -> bool:
        try:
            order = json.decode(environment_of(execution)[self.config.pull_variable], type=PullOrder)
        except (KeyError, DecodeError):
            return False
        return same_queues(order.queues, queues)

    def sweep(self, job: str) -> "Sweep":
        """Begin a sweep of the list of a job's executions."""
        return Sweep(self._list(job), self.config)

    async def _list(self, job: str) -> AsyncIterator[Any]:
        executions = (await self._clients()).executions
        request = {"parent": job, "page_size": PAGE_SIZE}
        try:
            async for execution in await executions.list_executions(request=request, timeout=self.config.rpc_timeout):
                yield execution
        except Exception as error:
            # A job that was deleted has no executions.
            if code_of(error) != "NOT_FOUND":
                raise


class Sweep:
    """One walk through the list of a job's executions, no further than needed."""

    def __init__(self, walk: AsyncIterator[Any], config: CloudRunExecutionConfig) -> None:
        self._walk = walk
        self._config = config
        self._unread: list[Any] = []
        self.named: dict[str, Any] = {}
        """The executions that were seen, by name."""

        self.reserved: dict[Fence, Any] = {}
        """The executions that were seen, by the id and epoch of their record."""

    async def read(self, names: AbstractSet[str], reservations: AbstractSet[Fence]) -> None:
        """Walk on until every name and reservation was seen, or the list ends."""
        self._index(reservations)
        while not (names <= self.named.keys() and reservations <= self.reserved.keys()):
            execution = await anext(self._walk, None)
            if execution is None:
                return
            self.named[execution.name] = execution
            self._unread.append(execution)
            self._index(reservations)

    def _index(self, reservations: AbstractSet[Fence]) -> None:
        """Read the environments only for a reservation, because that takes time."""
        if not reservations:
            return
        for execution in self._unread:
            environment = environment_of(execution)
            try:
                fence = UUID(environment[self._config.task_id_variable]), int(environment[self._config.epoch_variable])
            except (KeyError, ValueError):
                continue
            self.reserved[fence] = execution
        self._unread.clear()


def same_queues(some: tuple[str, ...] | None, others: tuple[str, ...] | None) -> bool:
    """Whether two orders or workers name the same queues, in any order; None means all queues."""
    return (None if some is None else set(some)) == (None if others is None else set(others))
