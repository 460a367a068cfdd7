"""``lq worker``, as a person starts and stops it."""

import signal
import sys
from pathlib import Path

from programs import run, running, until
from shelf import Shelf

LQ = (sys.executable, "-m", "lq_core")


async def test_it_says_what_it_runs_and_where_the_records_are(folder: Path) -> None:
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
    shelf = Shelf(folder / "lq.db")
    record = await shelf.put("shop.wait")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping: 1 still runs")
        await worker.line_with("worker.draining")
        late = await shelf.put("shop.send", arguments='{"number": 1}')
        (folder / "gate").touch()
        code = await worker.end()

    ended = await shelf.read(record.id)
    assert (code, ended.status, ended.result) == (0, "completed", '"through the gate"')
    assert (await shelf.read(late.id)).status == "pending"


async def test_a_second_signal_gives_records_back_at_once_and_unspent(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    record = await shelf.put("shop.wait")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("waiting")
        worker.send(signal.SIGTERM)
        await worker.line_with("Stopping")
        code = await worker.end(signal.SIGTERM)

    back = await shelf.read(record.id)
    assert (code, back.status, back.retry_count) == (0, "pending", 0)
    assert back.history[-1].event == "interrupted"


async def test_a_task_that_does_not_let_itself_be_stopped_is_left_with_the_process(folder: Path) -> None:
    await Shelf(folder / "lq.db").put("shop.hold")

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await worker.line_with("holding")
        worker.send(signal.SIGINT)
        await worker.line_with("Stopping")
        code = await worker.end(signal.SIGINT)

    assert (code, worker.printed[-1]) == (0, "Stopped. Ran nothing. Left behind: shop.hold.\n")


async def test_without_a_configuration_it_serves_the_file_of_the_working_directory(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    record = await shelf.put("shop.send", arguments='{"number": 7}')

    async def has_ended() -> bool:
        return (await shelf.read(record.id)).has_ended

    # Where lq-core is alone nothing is called "local": the shop stands in for it.
    (folder / "local.py").write_text("import shop, lq_core\nlq_core.execution_backend('local')(shop.Here)\n")
    async with running(*LQ, "worker", "--modules", "shop,local", folder=folder) as worker:
        await until(has_ended, what="the record ends")
        assert await worker.end(signal.SIGINT) == 0

    assert worker.printed[-1].startswith("Stopped. Ran 1: 1 completed; ")
    assert (await shelf.read(record.id)).result == '"sent 7"'


async def test_a_record_of_an_unknown_task_fails_alone(folder: Path) -> None:
    shelf = Shelf(folder / "lq.db")
    unknown = await shelf.put("shop.sent")
    known = await shelf.put("shop.send", arguments='{"number": 7}')

    async def have_ended() -> bool:
        return all([(await shelf.read(record.id)).has_ended for record in (unknown, known)])

    async with running(*LQ, "worker", "shop:queue", folder=folder) as worker:
        await until(have_ended, what="both records end")
        assert await worker.end(signal.SIGINT) == 0

    failed = await shelf.read(unknown.id)
    assert failed.error
    assert (failed.status, "Did you mean 'shop.send'?" in failed.error.message) == ("failed", True)
    assert (await shelf.read(known.id)).status == "completed"


async def test_a_worker_that_knows_no_task_leaves_the_records_alone(folder: Path) -> None:
    (folder / "bare.py").write_text(
        "from lq_core import BaseExecutionBackend, QueueConfig, execution_backend\n"
        "@execution_backend('here')\n"
        "class Here(BaseExecutionBackend):\n"
        "    async def execute(self, service, record, *, worker_id=None): return record\n"
        "queue = QueueConfig(execution_backend='here')\n"
    )
    shelf = Shelf(folder / "lq.db")
    record = await shelf.put("shop.send")

    answer = await run(*LQ, "worker", "bare:queue", folder=folder)

    assert (answer.code, "Error: No task is known here" in answer.err) == (1, True)
    assert "lq worker module:config" in answer.err
    assert "lq worker -m MODULE" in answer.err
    assert (await shelf.read(record.id)).status == "pending"


async def test_in_a_folder_without_tasks_no_file_is_made(folder: Path) -> None:
    (folder / "bare.py").write_text("import lq_core\nqueue = lq_core.QueueConfig(execution_backend='immediate')\n")

    answer = await run(*LQ, "worker", "bare:queue", folder=folder)

    assert (answer.code, "Error: No task is known here" in answer.err) == (1, True)
    assert not (folder / "lq.db").exists()


async def test_a_configuration_that_cannot_work_is_one_line_and_exit_code_1(folder: Path) -> None:
    (folder / "wrong.py").write_text("import lq_core\nqueue = lq_core.QueueConfig(execution_backend='lokal')\n")

    answer = await run(*LQ, "worker", "wrong:queue", folder=folder)

    assert (answer.code, answer.err.count("\n"), "Did you mean 'local'?" in answer.err) == (1, 1, True)


async def test_a_worker_for_no_queue_at_all_does_not_start(folder: Path) -> None:
    answer = await run(*LQ, "worker", "shop:queue", "--queues", "", folder=folder)

    assert (answer.code, answer.err) == (1, "Error: queues is (); name a queue, or give None for all of them.\n")
