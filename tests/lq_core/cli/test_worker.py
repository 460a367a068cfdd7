"""``lq worker`` as a program, from its start to its signals."""

import asyncio
import re
import signal
import sys
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from programs import run, running, until
from sqlite_file import SQLiteFile

STUCK = """
import asyncio
import time
from dataclasses import replace

import shop
from lq_core import task

queue = replace(shop.queue, shutdown_grace=0.1)
left = set()


@task(name="stuck.block")
async def block() -> None:
    print("blocking", flush=True)
    time.sleep(3600)


@task(name="stuck.leave_threads")
async def leave_threads() -> None:
    for _ in range(40):
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)


@task(name="stuck.leave_task")
async def leave_task() -> None:
    left.add(asyncio.create_task(ignore()))


@task(name="stuck.hang")
def hang() -> None:
    print("hanging", flush=True)
    time.sleep(3600)


async def ignore() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass
"""

LQ = (sys.executable, "-m", "lq_core")


@pytest.fixture
def stuck_folder(folder: Path) -> Path:
    (folder / "stuck.py").write_text(STUCK)
    return folder


async def test_the_worker_prints_what_it_runs_and_where_the_records_are(folder: Path) -> None:
    async with running(*LQ, "worker", "shop:queue", "--queues", "mail,reports", folder=folder) as worker:
        await worker.line_with("worker.started")
        code = await worker.end(signal.SIGINT)

    said = "".join(worker.printed)
    assert code == 0
    assert f"sqlite:{folder}/lq.db" in said
    assert "mail, reports" in said
    assert "here" in said
    assert "shop.hold, shop.send, shop.wait" in said


async def test_ctrl_c_lets_running_tasks_finish(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    record = await file.put("shop.wait")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping: 1 still runs")
        await worker.line_with("worker.shutting_down")
        late = await file.put("shop.send", arguments='{"number": 1}')
        (folder / "gate").touch()
        code = await worker.end()

    ended = await file.read(record.id)
    assert (code, ended.status, ended.result) == (0, "completed", '"through the gate"')
    assert (await file.read(late.id)).status == "pending"


async def test_a_second_signal_interrupts_running_records_at_once_without_spending_a_retry(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    record = await file.put("shop.wait")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGTERM)
        await worker.line_with("Stopping")
        code = await worker.end(signal.SIGTERM)

    back = await file.read(record.id)
    assert (code, back.status, back.retry_count) == (0, "pending", 0)
    assert back.history[-1].event == "interrupted"


async def test_a_task_that_ignores_cancellation_ends_with_the_process(folder: Path) -> None:
    await SQLiteFile(folder / "lq.db").put("shop.hold")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("holding")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping")
        code = await worker.end(signal.SIGINT)

    assert (code, worker.printed[-1]) == (130, "Stopped. Ran nothing. Still running: shop.hold.\n")


async def has_taken_its_signals(pid: int) -> bool:
    """Whether all signals have reached a process; True where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    text = status.read_text() if status.exists() else ""  # noqa: ASYNC240 -- this file is in memory
    found = re.findall(r"^S(?:ig|hd)Pnd:\s*(\w+)", text, re.MULTILINE)
    return not any(int(mask, 16) for mask in found)


@pytest.mark.parametrize(
    "first, third, code", [(signal.SIGINT, signal.SIGTERM, 130), (signal.SIGTERM, signal.SIGINT, 143)]
)
async def test_a_third_signal_ends_the_process_whatever_a_task_does(
    stuck_folder: Path, first: signal.Signals, third: signal.Signals, code: int
) -> None:
    await SQLiteFile(stuck_folder / "lq.db").put("stuck.block")

    async with running(*LQ, "worker", "stuck:queue", folder=stuck_folder) as worker:
        await worker.line_with("blocking")
        for number in (first, signal.SIGHUP):  # The system may merge equal signals.
            worker.send(number)
            # The system delivers those that wait together in any order.
            await until(partial(has_taken_its_signals, worker.pid), what="the signal has arrived")
        ended = await worker.end(third)

    assert (ended, worker.printed[-1]) == (code, "Ended by force: signal 3 asked for it.\n")


async def test_a_worker_that_cannot_stop_ends_after_the_grace(stuck_folder: Path) -> None:
    await SQLiteFile(stuck_folder / "lq.db").put("stuck.block")

    async with running(*LQ, "worker", "stuck:queue", folder=stuck_folder) as worker:
        await worker.line_with("blocking")
        code = await worker.end(signal.SIGTERM)

    assert (code, worker.printed[-1]) == (143, "Ended by force: it did not stop in time.\n")


async def test_a_thread_that_a_task_has_left_running_does_not_keep_the_process(stuck_folder: Path) -> None:
    file = SQLiteFile(stuck_folder / "lq.db")
    record = await file.put("stuck.leave_threads")

    async def has_ended() -> bool:
        return (await file.read(record.id)).has_ended

    async with running(*LQ, "worker", "stuck:queue", folder=stuck_folder) as worker:
        await until(has_ended, what="the record ends")
        code = await worker.end(signal.SIGTERM)

    assert (code, worker.printed[-1].startswith("Stopped. Ran 1: 1 completed")) == (0, True)


async def test_a_plain_function_that_goes_on_in_its_thread_is_named_and_shows_in_the_exit_code(
    stuck_folder: Path,
) -> None:
    await SQLiteFile(stuck_folder / "lq.db").put("stuck.hang")

    async with running(*LQ, "worker", "stuck:queue", folder=stuck_folder) as worker:
        await worker.line_with("hanging")
        code = await worker.end(signal.SIGTERM)

    assert (code, worker.printed[-1].startswith("Stopped. Ran 1: 1 interrupted")) == (143, True)
    assert worker.printed[-1].endswith("Still running: stuck.hang.\n")


async def test_an_asyncio_task_that_ignores_its_cancellation_does_not_keep_the_process(stuck_folder: Path) -> None:
    file = SQLiteFile(stuck_folder / "lq.db")
    record = await file.put("stuck.leave_task")

    async def has_ended() -> bool:
        return (await file.read(record.id)).has_ended

    async with running(*LQ, "worker", "stuck:queue", folder=stuck_folder) as worker:
        await until(has_ended, what="the record ends")
        code = await worker.end(signal.SIGTERM)

    assert (code, worker.printed[-1].startswith("Stopped. Ran 1: 1 completed")) == (143, True)


async def test_without_a_configuration_the_worker_serves_the_file_in_the_working_directory(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    record = await file.put("shop.send", arguments='{"number": 7}')

    async def has_ended() -> bool:
        return (await file.read(record.id)).has_ended

    # If only lq-core is installed, there is no backend "local", so the shop registers one.
    (folder / "local.py").write_text("import shop, lq_core\nlq_core.execution_backend('local')(shop.Here)\n")
    async with running(*LQ, "worker", "--modules", "shop,local", folder=folder) as worker:
        await until(has_ended, what="the record ends")
        assert await worker.end(signal.SIGINT) == 0

    assert worker.printed[-1].startswith("Stopped. Ran 1: 1 completed; ")
    assert (await file.read(record.id)).result == '"sent 7"'


async def test_a_record_of_an_unknown_task_is_left_for_another_worker(folder: Path) -> None:
    file = SQLiteFile(folder / "lq.db")
    unknown = await file.put("shop.sent")
    known = await file.put("shop.send", arguments='{"number": 7}')

    async def are_settled() -> bool:
        return bool((await file.read(unknown.id)).history) and (await file.read(known.id)).has_ended

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await until(are_settled, what="one record is released and the other one ends")
        assert await worker.end(signal.SIGINT) == 0
    shown = await run(*LQ, "records", "show", str(unknown.id), folder=folder)
    doctor = await run(*LQ, "doctor", folder=folder)

    assert ((await file.read(unknown.id)).status, (await file.read(known.id)).status) == ("pending", "completed")
    assert "passed_on in attempt 0: UnknownTaskError: No task is registered as 'shop.sent'." in shown.out
    assert (doctor.code, "shop.sent since " in doctor.out, "Did you mean 'shop.send'?" in doctor.out) == (1, True, True)


async def test_a_worker_without_tasks_does_not_touch_the_records(folder: Path) -> None:
    (folder / "bare.py").write_text(
        "from lq_core import InProcessExecutionBackend, QueueConfig, execution_backend\n"
        "@execution_backend('here')\n"
        "class Here(InProcessExecutionBackend):\n"
        "    async def execute(self, service, record, *, worker_id=None): return record\n"
        "queue = QueueConfig(execution_backend='here')\n"
    )
    file = SQLiteFile(folder / "lq.db")
    record = await file.put("shop.send")

    answer = await run(*LQ, "worker", "bare:queue", folder=folder)

    assert (answer.code, "Error: No task is known here" in answer.err) == (1, True)
    assert "lq worker module:config" in answer.err
    assert "lq worker -m MODULE" in answer.err
    assert (await file.read(record.id)).status == "pending"


async def test_in_a_folder_without_tasks_no_file_is_created(folder: Path) -> None:
    (folder / "bare.py").write_text("import lq_core\nqueue = lq_core.QueueConfig(execution_backend='immediate')\n")

    answer = await run(*LQ, "worker", "bare:queue", folder=folder)

    assert (answer.code, "Error: No task is known here" in answer.err) == (1, True)
    assert not (folder / "lq.db").exists()


async def test_a_configuration_that_cannot_work_is_reported_in_one_line(folder: Path) -> None:
    (folder / "wrong.py").write_text("import lq_core\nqueue = lq_core.QueueConfig(execution_backend='lokal')\n")

    answer = await run(*LQ, "worker", "wrong:queue", folder=folder)

    assert (answer.code, answer.err.count("\n"), "Did you mean 'local'?" in answer.err) == (1, 1, True)


async def test_a_worker_without_queues_does_not_start(folder: Path) -> None:
    answer = await run(*LQ, "worker", "shop:queue", "--queues", "", folder=folder)

    assert (answer.code, answer.err) == (
        1,
        "Error: queues is (); it must be a tuple of the names of queues, such as ('mail',), or None.\n",
    )


FAR = """
from lq_core import QueueConfig, execution_backend, task
from lq_core.execution import ExternalExecutionBackend


@execution_backend("far")
class Far(ExternalExecutionBackend):
    async def capacity(self, service):
        return 5

    async def dispatch(self, service, record):
        print("dispatching", flush=True)
        return None

    async def reconcile(self, service, record):
        return None

    async def cancel(self, service, record):
        return False


@task(name="far.send")
async def send() -> None: ...


queue = QueueConfig(execution_backend="far", poll_interval=0.1)
"""


async def test_dispatched_records_are_counted_at_the_end(folder: Path) -> None:
    (folder / "far.py").write_text(FAR)
    file = SQLiteFile(folder / "lq.db")
    for _ in range(3):
        await file.put("far.send", execution_backend="far")

    async with running(*LQ, "worker", "far:queue", folder=folder) as worker:
        for _ in range(3):
            await worker.line_with("dispatching")
        assert await worker.end(signal.SIGINT) == 0

    assert "".join(worker.printed).endswith("Stopped. Dispatched 3.\n")


async def test_a_worker_serves_its_probes_and_metrics(folder: Path) -> None:
    async with running(*LQ, "worker", "shop:queue", "--http", "127.0.0.1:0", folder=folder) as worker:
        line = await worker.line_with("status.listening")
        address = re.search(r"http://[\d.:]+", line)
        assert address
        await worker.said("worker.started")
        ready = await asyncio.to_thread(lambda: urlopen(f"{address[0]}/readyz").read())
        metrics = await asyncio.to_thread(lambda: urlopen(f"{address[0]}/metrics").read())
        assert await worker.end(signal.SIGTERM) == 0

    assert ready == b"ready\n"
    assert b"lq_workers 1.0" in metrics


@pytest.mark.parametrize("address", ["9101", "127.0.0.1:", "127.0.0.1:99999"])
async def test_an_address_that_cannot_be_served_is_refused(folder: Path, address: str) -> None:
    answer = await run(*LQ, "worker", "shop:queue", "--http", address, folder=folder)

    assert answer.code == 1
    assert "such as 127.0.0.1:9101" in answer.err
