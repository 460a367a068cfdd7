"""
Asking Cloud Run about executions: one by name, all of a job in one sweep of the list, and asking one to end.

Only reads are repeated, by the next look; every call has a limit.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from collections.abc import Set as AbstractSet
from typing import Any, Final
from uuid import UUID

from msgspec import DecodeError, json

from lq_cloudrun.clients import ExecutionsClient
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.drain_order import DrainOrder, same_queues
from lq_cloudrun.refusal import code_of, is_gone
from lq_cloudrun.status import containers_left, environment_of, status_of
from lq_core.event_log import event_log
from lq_core.record import QueuedTaskRecord

log = event_log("lq.cloudrun")

PAGE_SIZE: Final = 1000

Reservation = tuple[UUID, int]
"""The id and epoch that an execution was started for."""


class Executions:
    """The executions of one configuration, as Cloud Run tells of them."""

    def __init__(self, config: CloudRunExecutionConfig, client: Callable[[], Awaitable[ExecutionsClient]]) -> None:
        self._config = config
        self._client = client

    async def get(self, name: str) -> Any | None:
        """Read one execution; None when Cloud Run does not know it, or not any more. Raises Google's other errors."""
        client = await self._client()
        try:
            return await client.get_execution(name=name, timeout=self._config.rpc_timeout)
        except Exception as error:
            if code_of(error) == "NOT_FOUND":
                return None
            raise

    async def stop(self, name: str) -> bool:
        """Ask an execution to end; False when it is over, or when the client cannot ask or nobody answers."""
        client = await self._client()
        cancel = getattr(client, "cancel_execution", None)
        if cancel is None:
            return False
        try:
            await cancel(name=name, timeout=self._config.rpc_timeout)
        except Exception as error:  # noqa: BLE001 -- whatever kept the answer away, it was not accepted
            if not is_gone(error):
                log.warning("cloudrun.cancel_failed", extra={"execution": name, "error": _line(error)})
            return False
        return True

    async def of(self, record: QueuedTaskRecord, job: str) -> Any | None:
        """Find the execution of a reservation in the list of its job; None when it is not there."""
        sweep = self.sweep(job)
        reservation = record.id, record.epoch
        await sweep.read(frozenset(), {reservation})
        return sweep.reserved(reservation)

    async def draining(self, job: str, queues: tuple[str, ...] | None) -> dict[str, int]:
        """Find the executions of a job that drain *queues* and are not over, with how many containers are not."""
        return {
            execution.name: containers_left(execution)
            async for execution in self._list(job)
            if not status_of(execution).ended and self._drains(execution, queues)
        }

    def _drains(self, execution: Any, queues: tuple[str, ...] | None) -> bool:
        try:
            order = json.decode(environment_of(execution)[self._config.drain_variable], type=DrainOrder)
        except (KeyError, DecodeError):
            return False
        return same_queues(order.queues, queues)

    def sweep(self, job: str) -> "Sweep":
        """Begin to walk through the list of a job's executions."""
        return Sweep(self._list(job), self._config)

    async def _list(self, job: str) -> AsyncIterator[Any]:
        client = await self._client()
        request = {"parent": job, "page_size": PAGE_SIZE}
        try:
            async for execution in await client.list_executions(request=request, timeout=self._config.rpc_timeout):
                yield execution
        except Exception as error:
            # A job that was deleted has no executions.
            if code_of(error) != "NOT_FOUND":
                raise


class Sweep:
    """One walk through the list of a job, no further than what is looked for."""

    def __init__(self, walk: AsyncIterator[Any], config: CloudRunExecutionConfig) -> None:
        self._walk = walk
        self._config = config
        self._by_name: dict[str, Any] = {}
        self._by_reservation: dict[Reservation, Any] = {}
        self._unread: list[Any] = []
        self.complete = False
        """True when there is nothing more in the list: what has not been seen is not there."""

    async def read(self, names: AbstractSet[str], reservations: AbstractSet[Reservation]) -> None:
        """Walk on until all that is asked for has been seen, or the list ends."""
        self._index(reservations)
        while not self.complete:
            if names <= self._by_name.keys() and reservations <= self._by_reservation.keys():
                return
            execution = await anext(self._walk, None)
            if execution is None:
                self.complete = True
                return
            self._by_name[execution.name] = execution
            self._unread.append(execution)
            self._index(reservations)

    def named(self, name: str) -> Any | None:
        """The execution of this name, if it has been seen."""
        return self._by_name.get(name)

    def reserved(self, reservation: Reservation) -> Any | None:
        """The execution that was started for this reservation, if it has been seen."""
        return self._by_reservation.get(reservation)

    def _index(self, reservations: AbstractSet[Reservation]) -> None:
        """Read the environments only when a reservation is looked for, since it takes time."""
        if not reservations:
            return
        for execution in self._unread:
            reservation = self._reservation_of(execution)
            if reservation is not None:
                self._by_reservation[reservation] = execution
        self._unread.clear()

    def _reservation_of(self, execution: Any) -> Reservation | None:
        environment = environment_of(execution)
        try:
            return (
                UUID(environment[self._config.task_id_variable]),
                int(environment[self._config.epoch_variable]),
            )
        except (KeyError, ValueError):
            return None


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
