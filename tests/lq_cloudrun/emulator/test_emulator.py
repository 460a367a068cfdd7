"""The emulator itself: opening, closing, waiting, and running in a thread."""

import asyncio
import gc
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core.exceptions import GoogleAPICallError

from lq_cloudrun.emulator import EmulatedJob, Emulator, EmulatorThread, Phase, connected

READY = EmulatedJob(name="reports", command=["sh", "-c", "echo ready"], max_retries=0)
FAILING = EmulatedJob(name="reports", command=["sh", "-c", "echo broken; exit 2"], max_retries=0)


async def run_once(address: str, job: str) -> str:
    async with connected(address) as clients:
        operation = await clients.jobs.run_job(name=job, timeout=5)
        return operation.metadata.name


async def test_it_listens_on_the_loopback_interface_on_a_free_port() -> None:
    async with Emulator([READY]) as one, Emulator([READY]) as other:
        assert one.address.startswith("127.0.0.1:")
        assert one.address != other.address


def test_it_has_no_address_before_it_is_opened() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        _ = Emulator([READY]).address


async def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(OSError, match=str(port)):
            async with Emulator([READY], port=port):
                pass


async def test_names_are_those_of_the_project_and_the_region() -> None:
    async with Emulator([READY], project="shop", region="europe-west3") as emulator:
        name = await run_once(emulator.address, emulator.job_name("reports"))

    assert name.startswith("projects/shop/locations/europe-west3/jobs/reports/executions/reports-")


async def test_it_counts_calls_and_executions() -> None:
    mail = EmulatedJob(name="mail", command=["true"])
    async with Emulator([READY, mail]) as emulator:
        await run_once(emulator.address, emulator.job_name("reports"))
        await run_once(emulator.address, emulator.job_name("mail"))

        assert (emulator.calls("RunJob"), emulator.calls("GetJob")) == (2, 0)
        assert (len(emulator.executions()), len(emulator.executions("mail"))) == (2, 1)


async def test_waiting_for_success_says_so_when_the_execution_fails() -> None:
    async with Emulator([FAILING]) as emulator:
        name = await run_once(emulator.address, emulator.job_name("reports"))

        with pytest.raises(RuntimeError, match="is failed: 'broken"):
            await emulator.wait_for(name, Phase.SUCCEEDED)


async def test_a_wait_that_times_out_reports_the_phases_of_the_executions() -> None:
    async with Emulator([READY]) as emulator:
        emulator.faults.hold_starts("reports")
        await run_once(emulator.address, emulator.job_name("reports"))

        with pytest.raises(TimeoutError, match="waiting"):
            await emulator.wait_until(lambda: False, within=0.05)


async def test_a_client_that_waits_for_a_reply_gets_an_error_when_the_emulator_closes() -> None:
    async with Emulator([READY]) as emulator:
        emulator.faults.never_reply("RunJob")
        waiting = asyncio.create_task(run_once(emulator.address, emulator.job_name("reports")))
        await emulator.wait_until(lambda: emulator.calls("RunJob") == 1)

    with pytest.raises(GoogleAPICallError):
        await waiting


async def test_closing_it_while_starts_and_calls_are_held_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    async with Emulator([READY]) as emulator:
        emulator.faults.hold_starts("reports")
        await run_once(emulator.address, emulator.job_name("reports"))
        emulator.faults.hold("RunJob")
        waiting = asyncio.create_task(run_once(emulator.address, emulator.job_name("reports")))
        await emulator.wait_until(lambda: emulator.calls("RunJob") == 2)

    with pytest.raises(GoogleAPICallError):
        await waiting
    # asyncio logs an exception that was never retrieved when its task is collected.
    gc.collect()
    assert caplog.messages == []


def test_a_thread_serves_tests_without_an_event_loop() -> None:
    with EmulatorThread(Emulator([READY])) as thread:
        name = asyncio.run(run_once(thread.emulator.address, thread.emulator.job_name("reports")))
        ended = thread.run(lambda emulator: emulator.wait_for(name, Phase.SUCCEEDED))

        assert ended.succeeded_count == 1
        assert thread.emulator.output(name) == "ready\n"


def test_a_hold_is_released_from_another_thread() -> None:
    with EmulatorThread(Emulator([READY])) as thread:
        with thread.emulator.faults.hold_starts("reports") as hold:
            name = asyncio.run(run_once(thread.emulator.address, thread.emulator.job_name("reports")))
            thread.run(lambda emulator: emulator.wait_until(lambda: hold.waiting == 1))
        ended = thread.run(lambda emulator: emulator.wait_for(name, Phase.SUCCEEDED))

    assert ended.succeeded_count == 1


def test_several_event_loops_use_one_emulator() -> None:
    with EmulatorThread(Emulator([READY])) as thread, ThreadPoolExecutor(3) as pool:
        job = thread.emulator.job_name("reports")
        calls = [pool.submit(lambda: asyncio.run(run_once(thread.emulator.address, job))) for _ in range(6)]
        names = {call.result() for call in calls}

        assert names == set(thread.emulator.executions())
        assert len(names) == 6


def test_a_thread_that_cannot_open_its_emulator_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(OSError, match=str(port)), EmulatorThread(Emulator([READY], port=port)):
            pass


def test_leaving_the_thread_ends_what_it_started(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    job = EmulatedJob(name="reports", command=["sh", "-c", f"exec 3>{held}; echo ready; sleep 600"])
    with ThreadPoolExecutor(1) as pool:
        # The file ends when no process has the other side open.
        all_gone = pool.submit(held.read_bytes)
        with EmulatorThread(Emulator([job])) as thread:
            name = asyncio.run(run_once(thread.emulator.address, thread.emulator.job_name("reports")))
            thread.run(lambda emulator: emulator.wait_for_output(name, "ready"))
            assert not all_gone.done()

        assert all_gone.result(timeout=10) == b""
