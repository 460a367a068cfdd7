"""Functions in child processes: they are really ended, die alone, and have what other tasks have."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest

import process_tasks as tasks
from lq_core import (
    INJECTED,
    ConfigurationError,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    Task,
    TaskStatus,
    Worker,
    per_worker,
    task,
)
from lq_core.contracts.run_observer import Witness
from lq_core.queue.sqlite import SQLiteConfig
from lq_local import ProcessExecutionConfig

PATIENCE: Final = 60.0


def config_of(folder: Path, **settings: float) -> QueueConfig:
    return QueueConfig(
        queue_backend=SQLiteConfig(path=folder / "lq.db"),
        execution_backends=(ProcessExecutionConfig(processes=2, stop_grace=settings.get("stop_grace", 0.2)),),
        task_modules=("process_tasks",),
        providers=(tasks.pool, tasks.session),
        shutdown_grace=0.1,
    )


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[QueueService]:
    async with QueueService(config_of(tmp_path)) as service, Worker(service):
        yield service


async def until(
    queue: QueueService, record: QueuedTaskRecord, holds: Callable[[QueuedTaskRecord], bool]
) -> QueuedTaskRecord:
    async with asyncio.timeout(PATIENCE):
        while not holds(now := await queue.get(record.id) or record):  # noqa: ASYNC110 -- a store has no event for this
            await asyncio.sleep(0.02)  # Another process has no event to wait for.
    return now


async def test_plain_and_async_functions_run_in_a_child_that_is_kept(queue: QueueService) -> None:
    plain = await (await queue.enqueue(tasks.pid)).wait(timeout=PATIENCE)
    coroutine = await (await queue.enqueue(tasks.pid_async)).wait(timeout=PATIENCE)

    assert plain == coroutine != os.getpid()


async def test_arguments_and_results_keep_their_types(queue: QueueService) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)

    sent = await queue.enqueue(tasks.later, at, Decimal("1.50"), times=2)

    assert await sent.wait(timeout=PATIENCE) == (at, Decimal("3.00"))


@pytest.mark.parametrize(
    "how, message",
    [
        ("exit", "exited with code 3"),
        ("segfault", "SIGSEGV"),
        ("kill", "was killed (SIGKILL) while it ran the task, probably because memory ran out"),
    ],
)
async def test_a_child_that_dies_harms_its_own_record_alone(queue: QueueService, how: str, message: str) -> None:
    async with Witness(patience=PATIENCE) as witness:
        beside = await queue.enqueue(tasks.hold, witness.port)
        await witness.begun()

        dead = await queue.wait((await queue.enqueue(tasks.die, how)).id, timeout=PATIENCE)

        assert dead.error is not None
        assert (dead.status, dead.error.type) == (TaskStatus.FAILED, "ProcessDiedError")
        assert message in dead.error.message
        assert not witness.is_over
        witness.release()
        await beside.wait(timeout=PATIENCE)
    assert await (await queue.enqueue(tasks.pid)).wait(timeout=PATIENCE)


@pytest.mark.parametrize("stuck", [tasks.hold, tasks.spin])
async def test_a_timeout_kills_what_does_not_end(queue: QueueService, stuck: Task[[int], object]) -> None:
    async with Witness(patience=PATIENCE) as witness:
        sent = await queue.enqueue(stuck.using(timeout=0.5), witness.port)

        assert await witness.over()
        ended = await queue.wait(sent.id, timeout=PATIENCE)

    assert ended.error is not None
    assert (ended.status, ended.error.message) == (
        TaskStatus.FAILED,
        "The task ran longer than its timeout of 0.5 s.",
    )


async def test_a_cancelled_plain_function_is_killed(queue: QueueService) -> None:
    async with Witness(patience=PATIENCE) as witness:
        sent = await queue.enqueue(tasks.hold, witness.port)
        await witness.begun()

        await queue.cancel(sent.id)

        assert await witness.over()
        assert (await queue.wait(sent.id, timeout=PATIENCE)).status is TaskStatus.CANCELLED


async def test_a_function_that_ends_when_it_is_cancelled_is_not_killed(tmp_path: Path) -> None:
    async with QueueService(config_of(tmp_path, stop_grace=4.0)) as queue, Worker(queue):
        child = await (await queue.enqueue(tasks.pid)).wait(timeout=PATIENCE)
        for tidy in (tasks.tidy, tasks.tidy_plain):
            async with Witness(patience=PATIENCE) as witness:
                sent = await queue.enqueue(tidy, witness.port)
                await witness.begun()
                await queue.cancel(sent.id)

                assert await witness.over()
                assert (await queue.wait(sent.id, timeout=PATIENCE)).status is TaskStatus.CANCELLED

        assert await (await queue.enqueue(tasks.pid)).wait(timeout=PATIENCE) == child


async def test_a_worker_that_shuts_down_gives_the_record_back_and_ends_its_children(tmp_path: Path) -> None:
    async with Witness(patience=PATIENCE) as witness, QueueService(config_of(tmp_path)) as queue:
        async with Worker(queue):
            sent = await queue.enqueue(tasks.hold, witness.port)
            await witness.begun()
        assert await witness.over()
        left = await queue.get(sent.id)

    assert left is not None
    assert (left.status, left.retry_count) == (TaskStatus.PENDING, 0)


async def test_children_end_when_their_worker_is_killed(tmp_path: Path) -> None:
    async with Witness(patience=PATIENCE) as witness, QueueService(config_of(tmp_path)) as queue:
        await queue.enqueue(tasks.spin, witness.port)
        program = (
            "import asyncio, sys, pathlib, test_process_execution as tests\n"
            "from lq_core import QueueService, Worker\n"
            "async def main():\n"
            "    async with QueueService(tests.config_of(pathlib.Path(sys.argv[1]))) as queue:\n"
            "        await Worker(queue).run()\n"
            "asyncio.run(main())\n"
        )
        path = os.pathsep.join([str(Path(__file__).parent), str(Path(tasks.__file__).parent)])
        environment = {**os.environ, "PYTHONPATH": path}
        worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program, tmp_path, env=environment)
        await witness.begun()

        worker.send_signal(signal.SIGKILL)
        await worker.wait()

        assert await witness.over()


async def test_progress_and_lines_are_readable_while_the_function_runs(queue: QueueService) -> None:
    async with Witness(patience=PATIENCE) as witness:
        sent = await queue.enqueue(tasks.report, witness.port)
        running = await until(queue, sent.record, lambda now: now.progress is not None)

        assert running.progress is not None
        assert (running.status, running.progress.message) == (TaskStatus.RUNNING, "half")
        witness.release()
        assert await sent.wait(timeout=PATIENCE) == "process.report 1 False"

    ended = await queue.get(sent.id)
    assert ended is not None
    assert [entry.message for entry in ended.history] == ["a line"]


async def test_a_plain_function_reports_from_its_thread(queue: QueueService) -> None:
    sent = await queue.enqueue(tasks.report_plain)
    await sent.wait(timeout=PATIENCE)

    ended = await queue.get(sent.id)
    assert ended is not None
    assert ended.progress is not None
    assert (ended.progress.done, [entry.message for entry in ended.history]) == (1, ["a line"])


async def test_what_a_task_logs_is_logged_in_the_worker(queue: QueueService, caplog: pytest.LogCaptureFixture) -> None:
    await (await queue.enqueue(tasks.tell)).wait(timeout=PATIENCE)

    told = {record.getMessage(): record for record in caplog.records if record.name == "shop.process"}
    assert told["told well"].levelno == logging.WARNING
    assert told["told well"].__dict__["fact"] == 7
    assert "ValueError" in (told["trouble"].exc_text or "")


async def test_providers_are_opened_in_the_child(queue: QueueService) -> None:
    first = await (await queue.enqueue(tasks.injected)).wait(timeout=PATIENCE)

    assert first[0] == first[1] != os.getpid()


async def test_a_task_reads_the_results_of_its_predecessors(queue: QueueService) -> None:
    before = await queue.enqueue(tasks.pid)
    after = await queue.enqueue(tasks.collect.using(after=[before]))

    assert await after.wait(timeout=PATIENCE) == [await before.wait(timeout=PATIENCE)]


async def test_a_step_is_stored_by_the_worker_and_not_repeated_in_another_child(queue: QueueService) -> None:
    sent = await queue.enqueue(tasks.walk)

    assert await sent.wait(timeout=PATIENCE) == [1, 2, 2]
    assert [entry.message for entry in sent.record.history if entry.event == "step"] == ["1", "2", "3"]
    refused = await queue.wait((await queue.enqueue(tasks.carry)).id, timeout=PATIENCE)
    assert refused.error is not None
    assert (refused.error.type, refused.attempt) == ("PayloadTooLargeError", 1)


async def test_failures_instructions_and_retries_mean_what_they_mean_elsewhere(queue: QueueService) -> None:
    assert await (await queue.enqueue(tasks.fail_once)).wait(timeout=PATIENCE) == 2
    await (await queue.enqueue(tasks.put_off)).wait(timeout=PATIENCE)
    refused = await queue.wait((await queue.enqueue(tasks.refuse.using(retries=3))).id, timeout=PATIENCE)
    odd = await queue.wait((await queue.enqueue(tasks.odd.using(retries=3))).id, timeout=PATIENCE)

    assert (refused.status, refused.attempt) == (TaskStatus.FAILED, 1)
    assert odd.error is not None
    assert "cannot be stored as JSON" in odd.error.message


async def test_complete_in_is_refused_with_advice(queue: QueueService) -> None:
    ended = await queue.wait((await queue.enqueue(tasks.complete)).id, timeout=PATIENCE)

    assert ended.error is not None
    assert "execution_backend='local'" in ended.error.message


async def test_a_child_outlives_sigterm_and_its_own_programs_do_not(queue: QueueService) -> None:
    assert await (await queue.enqueue(tasks.signals)).wait(timeout=PATIENCE) == -signal.SIGTERM


async def test_a_provider_that_a_child_cannot_find_is_refused_at_the_start() -> None:
    @per_worker
    async def local() -> AsyncIterator[int]:
        yield 1

    config = QueueConfig(queue_backend="memory", execution_backends=(ProcessExecutionConfig(),), providers=(local,))
    async with QueueService(config) as service:
        with pytest.raises(ConfigurationError, match="top level of a module"):
            await Worker(service).run()


async def test_a_task_that_asks_for_the_service_is_refused_at_the_start() -> None:
    path = "lq_local:ProcessExecutionBackend"  # Other tests open "process", which refuses this task.

    @task(name="process.asks", execution_backend=path)
    async def asks(queue: QueueService = INJECTED) -> None: ...

    async with QueueService(QueueConfig(queue_backend="memory", execution_backend=path)) as service:
        with pytest.raises(ConfigurationError, match="QueueService as 'queue'"):
            await Worker(service).run()
