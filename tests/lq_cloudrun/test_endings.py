"""How executions end, and what the record says about it: the exit code, its meaning, the advice and the log."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud import run_v2

import container_tasks as shop
from cloud import Cloud, cloud
from lq_cloudrun import CloudRunClients, CloudRunExecutionConfig
from lq_cloudrun.emulator import connected
from lq_cloudrun.executions.ending import ending_of
from lq_core import QueueConfig, QueueService, TaskStatus, Worker

FAILED = run_v2.Condition.State.CONDITION_FAILED


def ended(message: str, *, memory: str = "") -> run_v2.Execution:
    """Make an execution that has failed with a message."""
    limits = {"memory": memory} if memory else {}
    container = run_v2.Container(resources=run_v2.ResourceRequirements(limits=limits))
    return run_v2.Execution(
        job="reports",
        template=run_v2.TaskTemplate(containers=[container]),
        conditions=[run_v2.Condition(type_="Completed", state=FAILED, message=message)],
    )


def task(*, code: int = 0, signal: int = 0) -> run_v2.Task:
    return run_v2.Task(last_attempt_result=run_v2.TaskAttemptResult(exit_code=code, term_signal=signal))


@pytest.mark.parametrize(
    "code, meaning",
    [
        (1, "failed (exit code 1) without claiming it. The container could not do its work; the last line of its log"),
        (4, "failed (exit code 4, MISSING_RECORD) without claiming it. Its database has no such record"),
        (127, "failed (exit code 127) without claiming it. Its command was not found in the image."),
    ],
)
async def test_the_history_says_why_a_container_has_not_claimed_its_record(
    queue: QueueConfig, address: str, code: int, meaning: str
) -> None:
    async with cloud(queue, address, job={"command": ["sh", "-c", f"exit {code}"]}) as sky:
        backend = await sky.backend()
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        dispatched = await backend.execute(sky.service, sent.record)
        await sky.emulator.wait_until_over(str(dispatched.execution_ref))
        [lost] = await backend.reconcile_many(sky.service, [dispatched])

        assert lost.history[-1].failure is not None
        message = lost.history[-1].failure.message
        assert meaning in message
        assert message.endswith(f"Its log: {dispatched.log_url}")


async def test_a_container_that_is_killed_before_its_claim_probably_needs_more_memory(
    queue: QueueConfig, address: str
) -> None:
    job = {"command": ["sh", "-c", "kill -9 $$"]}
    async with cloud(queue, address, job=job) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.add, 1, second=2)
        lost = await sky.until(sent.record, lambda record: record.losses == 1)

        assert "failed (signal 9) without claiming it" in str(lost.history)
        assert "gcloud run jobs update shop --memory=2Gi" in str(lost.history)


async def test_a_task_that_is_killed_probably_needs_more_memory(
    queue: QueueConfig, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_HEARTBEAT", "0.5")
    async with cloud(shop.queue_config(), address, env={"SHOP_HEARTBEAT": "0.5"}) as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.die_at_first, str(tmp_path / "marker"))
        lost = await sky.until(sent.record, lambda record: record.losses == 1)

        assert "failed (signal 9) without recording a result. It probably used more than its memory" in str(lost.error)


def test_the_limit_of_the_memory_is_named() -> None:
    ending = ending_of(ended("it failed", memory="512Mi"), task(signal=9))

    assert ending.advice.startswith("It probably used more than its memory (512Mi). Give the job more")


def test_a_shell_reports_a_signal_as_an_exit_code() -> None:
    ending = ending_of(ended("it failed"), task(code=137))

    assert (ending.summary, "memory" in ending.advice) == ("failed (signal 9)", True)


def test_a_container_that_was_killed_because_its_time_was_up_needs_no_memory() -> None:
    ending = ending_of(ended("The configured timeout was reached."), task(signal=9))

    assert (ending.summary, ending.advice) == ("failed (signal 9, its time was up)", "")


def test_without_its_task_the_condition_of_the_execution_decides() -> None:
    message = "Task reports-a-task0 failed with exit code: 5 and message: The container exited with an error."

    assert ending_of(ended(message), None).summary == "failed (exit code 5, UNKNOWN_TASK)"
    assert ending_of(ended("no image"), None).summary == "failed (no image)"


async def test_with_clients_of_the_application_an_ending_has_its_reason_as_well(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, job={"command": ["sh", "-c", "exit 4"]}) as sky:
        async with connected(sky.emulator.address) as connection:
            google: Any = connection

            def clients() -> CloudRunClients:
                return CloudRunClients(jobs=google.jobs, executions=google.executions)

            config = CloudRunExecutionConfig("emulated", job_name="shop", clients=clients, claim_check_after=0)
            async with QueueService(replace(queue, execution_backend=config)) as service, Worker(service):
                sent = await service.enqueue(shop.add, 1, second=2)
                lost = await sky.until(sent.record, lambda record: record.losses == 1)

        assert "failed (exit code 4, MISSING_RECORD) without claiming it" in str(lost.history)


async def stop_from_outside(sky: Cloud, name: str) -> None:
    """Cancel an execution as a person does in the console."""
    async with connected(sky.emulator.address) as google:
        await google.executions.cancel_execution(name=name, timeout=5)


async def test_a_cancelled_execution_cancels_its_record_before_the_claim_if_the_configuration_says_so(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, on_console_cancel="cancel") as sky, Worker(sky.service):
        with sky.emulator.faults.hold_starts("shop"):
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
            [name] = sky.emulator.executions()
            await stop_from_outside(sky, name)
            kept = await sky.until(sent.record, lambda record: record.has_ended)

        assert (kept.status, kept.error and kept.error.type) == (TaskStatus.CANCELLED, "ExecutionCancelled")
        assert len(sky.emulator.executions()) == 1


async def test_a_cancelled_execution_cancels_its_running_record_if_the_configuration_says_so(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, on_console_cancel="cancel") as sky, Worker(sky.service):
        sent = await sky.service.enqueue(shop.hang)
        await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
        [name] = sky.emulator.executions()
        await sky.emulator.wait_for_output(name, "hanging")
        await stop_from_outside(sky, name)
        kept = await sky.until(sent.record, lambda record: record.has_ended)

        assert kept.status is TaskStatus.CANCELLED
        assert len(sky.emulator.executions()) == 1
