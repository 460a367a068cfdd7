"""What an execution backend has to pass, as a pytest class to inherit from."""

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.context import TaskContext
from lq_core.execution import BaseExecutionBackend
from lq_core.queue import Claim, Swap
from lq_core.record import Backoff, QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService
from lq_core.task import task
from lq_core.testing.records import a_record, a_worker


@task(name="lq_core.testing.add")
async def add(first: int, second: int) -> int:
    """Return the sum: the task that ends well."""
    return first + second


@task(name="lq_core.testing.fail")
async def fail(context: TaskContext) -> None:
    """Raise an error: the task that never ends well."""
    raise ValueError(f"attempt {context.attempt} failed")


class ExecutionBackendContract:
    """
    What every execution backend owes, on every queue backend.

    A subclass gives two fixtures: ``service``, an open QueueService whose configuration knows the backend, and
    ``backend``, opened on it; and says in ``name`` how records name it. A backend whose records run elsewhere
    also overrides :meth:`ended`, to wait until the execution is over. The module of the tasks above is
    ``lq_core.testing.execution``.
    """

    name: str

    async def ended(self, service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """Return what became of an executed record, once its attempt is over."""
        return await service.get(record.id) or record

    async def handed_over(
        self, service: QueueService, backend: BaseExecutionBackend, **changes: object
    ) -> QueuedTaskRecord:
        """Store a record and claim it, as a worker does before it calls the backend."""
        await service.queue_backend.register(a_worker("contract"))
        record = replace(a_record(execution_backend=self.name), **changes)
        await service.queue_backend.insert([record])
        to = TaskStatus.DISPATCHED if backend.external else TaskStatus.RUNNING
        claim = Claim(worker_id="contract", limit=1, execution_backends=(self.name,), to=to)
        (claimed,) = (await service.queue_backend.claim(claim)).records
        return claimed

    async def test_a_record_is_run_and_its_result_is_kept(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The stored record has completed, after one attempt, and names no owner."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments='{"first": 1, "second": 2}')

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert (after.status, after.result, after.attempt) == (TaskStatus.COMPLETED, "3", 1)
        assert (after.worker_id, after.execution_ref) == (None, None)
        assert await service.get(record.id) == after

    async def test_what_execute_returns_is_what_is_stored(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The caller sees the persisted record, not one that was only made in memory."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments='{"first": 1, "second": 2}')

        after = await backend.execute(service, record, worker_id=record.worker_id)

        assert after.id == record.id
        assert after.status in {TaskStatus.COMPLETED, TaskStatus.DISPATCHED, TaskStatus.RUNNING}
        await self.ended(service, after)

    async def test_a_failure_goes_back_to_the_queue_while_the_budget_lasts(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The retry waits, the budget is spent by one, and the error is kept."""
        record = await self.handed_over(
            service, backend, task_name=fail.name, retries=1, backoff=Backoff(base=60.0, jitter=0.0)
        )

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert (after.status, after.retry_count) == (TaskStatus.PENDING, 1)
        assert after.error is not None
        assert (after.error.type, after.error.message) == ("ValueError", "attempt 1 failed")

    async def test_an_unknown_task_fails_with_advice(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The record has failed, and its error names the task."""
        record = await self.handed_over(service, backend, task_name="lq_core.testing.ad", retries=3)

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert after.status is TaskStatus.FAILED
        assert after.error is not None
        assert "lq_core.testing.ad" in after.error.message

    async def test_an_owner_whose_epoch_is_over_records_nothing(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """Somebody has cancelled the record behind the backend's back: it stays cancelled."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments='{"first": 1, "second": 2}')
        cancelled = lifecycle.cancel(record, at=service.queue_backend.now())
        assert await service.queue_backend.swap([Swap(record=cancelled, epoch=record.epoch)]) == [True]

        await backend.execute(service, record, worker_id=record.worker_id)

        assert await self.ended(service, record) == cancelled

    async def test_an_ended_record_is_left_alone(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        """There is nothing to reconcile and nothing to cancel any more."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments='{"first": 1, "second": 2}')
        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert await backend.reconcile(service, after) is None
        assert not await backend.cancel(service, after)
        assert await service.get(record.id) == after
