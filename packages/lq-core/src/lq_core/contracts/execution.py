"""The suite of execution backends, as a pytest class to subclass."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import ClassVar, Final

import pytest
from msgspec.structs import replace

from lq_core.contracts.records import a_record, a_worker
from lq_core.contracts.run_observer import Witness
from lq_core.execution import BaseExecutionBackend, ExternalExecutionBackend, InProcessExecutionBackend
from lq_core.execution.probes import add, die, fail, hold, walk
from lq_core.queue import Claim, Swap
from lq_core.records import lifecycle, steps
from lq_core.records.history import PASSED_ON, STEP
from lq_core.records.record import OWNED, Backoff, HistoryEntry, QueuedTaskRecord, TaskStatus
from lq_core.service import QueueService

IN_PROCESS: Final = ("test_a_record_whose_execution_is_cancelled_goes_back",)
EXTERNAL: Final = (
    "test_a_record_whose_executor_dies_before_its_claim_is_found",
    "test_an_execution_that_runs_is_left_alone",
    "test_cancel_ends_an_external_execution",
    "test_dispatching_does_not_wait_for_the_function",
    "test_a_dispatched_record_takes_up_capacity",
)
"""The tests that apply to one shape only."""

DYING: Final = "test_an_executor_that_dies_in_the_task_harms_its_record_alone"

ONE_AND_TWO: Final = '{"first": 1, "second": 2}'
SECONDS_BETWEEN_LOOKS: Final = 0.02
"""The pause between two looks at a record that another process changes."""


class ExecutionBackendContract:
    """
    What every execution backend owes, on every queue backend.

    A subclass gives two fixtures: ``service``, an open QueueService whose configuration knows the backend, and
    ``backend``, opened on it; and says in ``name`` how records name it. The executor imports the module
    ``lq_core.execution.probes``, which has the tasks, and reaches this machine at 127.0.0.1.

    A subclass for an external backend sets ``external``, and overrides :meth:`ended` and
    :meth:`executor_dies_before_its_claim`. One for an in-process backend that runs functions in other processes sets
    ``dies_alone``. What does not concern the backend is no test of the subclass.
    """

    name: str

    external: ClassVar[bool] = False
    """Whether the backend is an :class:`ExternalExecutionBackend`."""

    dies_alone: ClassVar[bool] = False
    """Whether a function may end its process without ending this one; always true of an external backend."""

    patience: ClassVar[float] = 30.0
    """Seconds that the suite waits for an expected event."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        without = {*(IN_PROCESS if cls.external else EXTERNAL)}
        if not (cls.external or cls.dies_alone):
            without.add(DYING)
        for name in (*IN_PROCESS, *EXTERNAL, DYING):
            if name in without:
                setattr(cls, name, None)
            elif getattr(cls, name) is None:  # The class it derives from is for the other shape.
                setattr(cls, name, vars(ExecutionBackendContract)[name])

    async def ended(self, service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """Return the executed record when its attempt has ended."""
        return await service.get(record.id) or record

    async def executor_dies_before_its_claim(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        """Make the executor of the next dispatched record die before its claim."""
        raise NotImplementedError("Override executor_dies_before_its_claim() for an external backend.")

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
        """The stored record has completed after one attempt, and has no owner."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments=ONE_AND_TWO)

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert (after.status, after.result, after.attempt) == (TaskStatus.COMPLETED, "3", 1)
        assert (after.worker_id, after.execution_ref) == (None, None)
        assert await service.get(record.id) == after

    async def test_what_execute_returns_is_what_is_stored(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The caller gets the stored record."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments=ONE_AND_TWO)

        after = await backend.execute(service, record, worker_id=record.worker_id)

        assert after.id == record.id
        assert after.status in {TaskStatus.COMPLETED, TaskStatus.DISPATCHED, TaskStatus.RUNNING}
        await self.ended(service, after)

    async def test_a_failure_goes_back_to_the_queue_while_the_budget_lasts(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The retry waits, one retry is spent, and the error is stored."""
        record = await self.handed_over(
            service, backend, task_name=fail.name, retries=1, backoff=Backoff(base=60.0, jitter=0.0)
        )

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert (after.status, after.retry_count) == (TaskStatus.PENDING, 1)
        assert after.error is not None
        assert (after.error.type, after.error.message) == ("ValueError", "attempt 1 failed")

    async def test_a_step_is_stored_and_a_wait_puts_the_record_back(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The record waits for its signal without an owner, and keeps the result of the step."""
        record = await self.handed_over(service, backend, task_name=walk.name)

        await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        stored = await service.get(record.id)
        assert stored is not None
        assert (stored.status, stored.worker_id, stored.attempt) == (TaskStatus.PENDING, None, 1)
        assert (steps.kept(stored, STEP), steps.awaited(stored)) == ({"first": "1"}, "go")

    async def test_a_record_of_an_unknown_task_waits_for_another_worker(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The record is pending again with nothing spent, and its history names the task."""
        record = await self.handed_over(service, backend, task_name="lq_core.probes.ad", retries=3)

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert (after.status, after.attempt, after.retry_count, after.losses) == (TaskStatus.PENDING, 0, 0, 0)
        assert after.history[-1].failure is not None
        assert "lq_core.probes.ad" in after.history[-1].failure.message

    async def test_a_record_that_no_worker_could_read_for_too_long_fails_with_advice(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """After ``unknown_task_patience`` the record has failed, and its error names the task."""
        long_ago = service.queue_backend.now() - timedelta(seconds=service.config.unknown_task_patience)
        passed_on = HistoryEntry(at=long_ago, event=PASSED_ON)
        record = await self.handed_over(service, backend, task_name="lq_core.probes.ad", history=(passed_on,))

        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert after.status is TaskStatus.FAILED
        assert after.error is not None
        assert "lq_core.probes.ad" in after.error.message

    async def test_an_owner_with_an_old_epoch_records_nothing(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """A record that was cancelled before the backend got it stays cancelled."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments=ONE_AND_TWO)
        cancelled = lifecycle.cancel(record, at=service.queue_backend.now())
        assert await service.queue_backend.swap([Swap(record=cancelled, epoch=record.epoch)]) == [True]

        await backend.execute(service, record, worker_id=record.worker_id)

        assert await self.ended(service, record) == cancelled

    async def test_an_ended_record_is_left_alone(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        """An ended record needs no reconciliation and no cancellation."""
        record = await self.handed_over(service, backend, task_name=add.name, arguments=ONE_AND_TWO)
        after = await self.ended(service, await backend.execute(service, record, worker_id=record.worker_id))

        assert await backend.reconcile(service, after) is None
        assert not await backend.cancel(service, after)
        assert await service.get(record.id) == after

    # ------------------------------------------------------------ shape

    async def test_it_has_one_of_the_two_shapes(self, backend: BaseExecutionBackend) -> None:
        """Records run in this process, or in one that claims them; ``external`` says which."""
        assert isinstance(backend, InProcessExecutionBackend | ExternalExecutionBackend)
        assert backend.external == isinstance(backend, ExternalExecutionBackend) == self.external

    # ------------------------------------------------------------ stopping

    async def test_a_cancellation_ends_the_function(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        """Cancelling a running record ends its function and cancels the record."""
        async with self._running(service, backend) as (record, witness, _):
            assert await service.cancel(record.id)

            assert await witness.over(), "The function continues after its record was cancelled."
            assert (await self._until_given_up(service, record, reconciling=backend)).status is TaskStatus.CANCELLED

    async def test_a_timeout_ends_the_function(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        """A timeout ends the function and fails the attempt."""
        async with self._running(service, backend, timeout=0.5) as (record, witness, _):
            assert await witness.over(), "The function continues after its timeout."
            after = await self._until_given_up(service, record, reconciling=backend)

        assert after.error is not None
        assert (after.status, after.error.type) == (TaskStatus.FAILED, "TimeoutError")

    async def test_a_record_whose_execution_is_cancelled_goes_back(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """A shutdown ends the function and spends no retry."""
        async with self._running(service, backend) as (record, witness, execution):
            execution.cancel()

            assert await witness.over(), "The function continues after its execution was cancelled."
            after = await self._until_given_up(service, record, reconciling=backend)

        assert (after.status, after.retry_count) == (TaskStatus.PENDING, 0)

    # ------------------------------------------------------------ dying

    async def test_an_executor_that_dies_in_the_task_harms_its_record_alone(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The record is taken from the dead executor with an error, while another record runs."""
        async with self._running(service, backend) as (other, witness, _):
            backoff = Backoff(base=60.0, jitter=0.0)
            record = await self.handed_over(service, backend, task_name=die.name, retries=1, backoff=backoff)
            await backend.execute(service, record, worker_id=record.worker_id)

            after = await self._until_given_up(service, record, reconciling=backend)
            assert (after.error is not None, after.epoch > record.epoch) == (True, True)
            assert not witness.is_over, "The death of an executor has ended another record's function."
            witness.release()
            assert (await self._until_given_up(service, other, reconciling=backend)).status is TaskStatus.COMPLETED

    async def test_a_record_whose_executor_dies_before_its_claim_is_found(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """Reconciliation takes the record from an executor that will never run it."""
        await self.executor_dies_before_its_claim(service, backend)
        record = await self.handed_over(service, backend, task_name=add.name, arguments=ONE_AND_TWO)
        await backend.execute(service, record, worker_id=record.worker_id)

        after = await self._until_given_up(service, record, reconciling=backend)

        assert (after.status, after.attempt) == (TaskStatus.PENDING, 0)

    # ------------------------------------------------------------ outside

    async def test_dispatching_does_not_wait_for_the_function(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The dispatcher does not wait, and may die, while the function runs."""
        async with self._running(service, backend) as (_, witness, execution):
            await asyncio.wait([execution], timeout=self.patience)

            assert (execution.done(), witness.is_over) == (True, False)

    async def test_an_execution_that_runs_is_left_alone(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """Reconciliation takes no record from an executor that is alive."""
        async with self._running(service, backend) as (record, witness, _):
            running = await service.get(record.id)
            assert running is not None

            assert await backend.reconcile(service, running) is None
            assert not witness.is_over
            witness.release()
            assert (await self._until_given_up(service, record, reconciling=backend)).status is TaskStatus.COMPLETED

    async def test_cancel_ends_an_external_execution(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The backend ends the execution, and returns True."""
        async with self._running(service, backend) as (record, witness, _):
            running = await service.get(record.id)
            assert running is not None

            assert await backend.cancel(service, running)
            assert await witness.over(), "The execution continues after it was cancelled."

    async def test_a_dispatched_record_takes_up_capacity(
        self, service: QueueService, backend: BaseExecutionBackend
    ) -> None:
        """The capacity is positive at first, and smaller while an execution runs."""
        assert isinstance(backend, ExternalExecutionBackend)
        before = await backend.capacity(service)
        async with self._running(service, backend):
            assert 0 <= await backend.capacity(service) < before

    @asynccontextmanager
    async def _running(
        self, service: QueueService, backend: BaseExecutionBackend, **changes: object
    ) -> AsyncGenerator[tuple[QueuedTaskRecord, Witness, asyncio.Task[QueuedTaskRecord]]]:
        """Execute a record whose function runs until it is stopped."""
        async with Witness(patience=self.patience) as witness:
            arguments = f'{{"port": {witness.port}}}'
            record = await self.handed_over(service, backend, task_name=hold.name, arguments=arguments, **changes)
            execution = asyncio.create_task(backend.execute(service, record, worker_id=record.worker_id))
            try:
                await witness.begun()
                yield record, witness, execution
            finally:
                witness.release()
                await asyncio.wait([execution], timeout=self.patience)
                execution.cancel()
                await asyncio.gather(execution, return_exceptions=True)
                await self.ended(service, record)

    async def _until_given_up(
        self, service: QueueService, record: QueuedTaskRecord, *, reconciling: BaseExecutionBackend
    ) -> QueuedTaskRecord:
        """Read a record until it has no owner."""
        deadline = asyncio.get_running_loop().time() + self.patience
        while (after := await service.get(record.id) or record).status in OWNED:
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"The record is still {after.status} after {self.patience:g} s.")
            await reconciling.reconcile(service, after)
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)  # Another process has no event to wait for.
        return after
