"""The contract of execution backends: the examples of third parties pass it, and every broken backend fails."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import program_backend
import pytest
import serial_backend

from lq_core import (
    BaseExecutionBackend,
    ExternalExecutionBackend,
    InProcessExecutionBackend,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    execution_backend,
)
from lq_core.contracts import ExecutionBackendContract
from lq_core.execution import ExecutionService
from lq_core.queue.sqlite import SQLiteConfig

EXAMPLES: Final = Path(program_backend.__file__).parent
"""What the page shows: serial_backend.py, program_backend.py and its program, run_one_record.py."""

METHODS: Final = ("dispatch", "reconcile", "cancel", "capacity")
DIES: Final = [sys.executable, "-c", "import os; os._exit(1)"]

CHILD: Final = """
import asyncio, sys, uuid
from lq_core import QueueConfig, QueueService
from lq_core.execution import probes
from lq_core.queue.sqlite import SQLiteConfig

async def main(file, record_id, worker_id):
    async with QueueService(QueueConfig(queue_backend=SQLiteConfig(path=file))) as service:
        await service.execute_record(await service.get(uuid.UUID(record_id)), worker_id=worker_id)

asyncio.run(main(*sys.argv[1:]))
"""


def config_of(name: str, folder: Path) -> QueueConfig:
    return QueueConfig(
        queue_backend=SQLiteConfig(path=folder / "lq.db"),
        execution_backend=name,
        task_modules=("lq_core.execution.probes",),
    )


@pytest.fixture(autouse=True)
def _programs_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))


class OnAFile(ExecutionBackendContract):
    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[QueueService]:
        async with QueueService(config_of(self.name, tmp_path)) as service:
            yield service

    @pytest.fixture
    async def backend(self, service: QueueService) -> BaseExecutionBackend:
        return await service.execution_backend(self.name)


class TestSerialExecutionBackend(OnAFile):
    name = "serial"

    def test_it_has_one_slot(self, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, serial_backend.SerialExecutionBackend)
        assert backend.slots == 1


class TestProgramExecutionBackend(OnAFile):
    name = "programs"
    external = True

    async def ended(self, service: QueueService, record: QueuedTaskRecord) -> QueuedTaskRecord:
        backend = await service.execution_backend(self.name)
        return await self._until_given_up(service, record, reconciling=backend)

    async def executor_dies_before_its_claim(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, program_backend.ProgramExecutionBackend)
        backend.command = DIES


# ------------------------------------------------------------ broken backends


@execution_backend("without-reconcile")
class WithoutReconcile(program_backend.ProgramExecutionBackend):
    """Looks after nothing that it has dispatched."""

    async def reconcile(self, service: ExecutionService, record: QueuedTaskRecord) -> QueuedTaskRecord | None:
        return None


@execution_backend("hasty-reconcile")
class HastyReconcile(program_backend.ProgramExecutionBackend):
    """Takes every execution for dead."""

    def _is_alive(self, reference: str) -> bool:
        return False


@execution_backend("without-cancel")
class WithoutCancel(program_backend.ProgramExecutionBackend):
    """Ends no program."""

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        return False


@execution_backend("pretends-to-cancel")
class PretendsToCancel(program_backend.ProgramExecutionBackend):
    """Says that it ends a program, and does not."""

    async def cancel(self, service: ExecutionService, record: QueuedTaskRecord) -> bool:
        return True


@execution_backend("without-capacity")
class WithoutCapacity(program_backend.ProgramExecutionBackend):
    """Always has room for ten more."""

    async def capacity(self, service: ExecutionService) -> int:
        return 10


@execution_backend("waiting-dispatcher")
class WaitingDispatcher(program_backend.ProgramExecutionBackend):
    """Waits in its ``execute`` for the program that it has started."""

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        after = await super().execute(service, record, worker_id=worker_id)
        while after.worker_id is not None or after.execution_ref is not None:
            await asyncio.sleep(0.02)  # Another process has no event to wait for.
            after = await service.queue_backend.get(record.id) or after
        return after


@execution_backend("waiting-for-child")
class WaitingForChild(InProcessExecutionBackend):
    """Starts a child for a record that its worker has claimed, and waits: nobody stops the child."""

    def __init__(self, config: QueueConfig | None = None) -> None:
        super().__init__(config)
        self._children = list[asyncio.subprocess.Process]()

    async def close(self) -> None:
        for child in self._children:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        store = service.config.queue_backend
        assert isinstance(store, SQLiteConfig)
        place = (str(store.path), str(record.id), str(worker_id))
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, *place)
        self._children.append(child)
        await child.wait()
        return await service.queue_backend.get(record.id) or record


@execution_backend("without-shape")
class WithoutShape(InProcessExecutionBackend):
    """Says that its records run elsewhere, and has no way to look after them."""

    external = True

    async def execute(
        self, service: ExecutionService, record: QueuedTaskRecord, *, worker_id: str | None = None
    ) -> QueuedTaskRecord:
        return record


class Impatient(ExecutionBackendContract):
    """The contract, for backends that will not keep it however long one waits."""

    patience = 2.0
    dies_alone = True


class ImpatientOutside(Impatient):
    external = True

    async def executor_dies_before_its_claim(self, service: QueueService, backend: BaseExecutionBackend) -> None:
        assert isinstance(backend, program_backend.ProgramExecutionBackend)
        backend.command = DIES


@pytest.mark.parametrize(
    "name, promise",
    [
        ("without-reconcile", "test_a_record_whose_executor_dies_before_its_claim_is_found"),
        ("without-reconcile", "test_an_executor_that_dies_in_the_task_harms_its_record_alone"),
        ("hasty-reconcile", "test_an_execution_that_runs_is_left_alone"),
        ("without-cancel", "test_cancel_ends_an_external_execution"),
        ("pretends-to-cancel", "test_cancel_ends_an_external_execution"),
        ("without-capacity", "test_a_dispatched_record_takes_up_capacity"),
        ("waiting-dispatcher", "test_dispatching_does_not_wait_for_the_function"),
        ("waiting-for-child", "test_a_cancellation_ends_the_function"),
        ("waiting-for-child", "test_a_record_whose_execution_is_cancelled_goes_back"),
        ("without-shape", "test_it_has_one_of_the_two_shapes"),
    ],
)
async def test_a_broken_backend_fails(name: str, promise: str, tmp_path: Path) -> None:
    async with QueueService(config_of(name, tmp_path)) as service:
        backend = await service.execution_backend(name)
        suite = ImpatientOutside() if isinstance(backend, ExternalExecutionBackend) else Impatient()
        suite.name = name
        given = {"service": service, "backend": backend}
        if promise == "test_it_has_one_of_the_two_shapes":
            del given["service"]
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await getattr(suite, promise)(**given)


@pytest.mark.parametrize("missing", METHODS)
def test_an_external_backend_without_a_method_cannot_be_made(missing: str) -> None:
    methods = {
        method: getattr(program_backend.ProgramExecutionBackend, method) for method in METHODS if method != missing
    }
    broken = type("Broken", (ExternalExecutionBackend,), methods)

    with pytest.raises(TypeError, match=missing):
        broken()
