"""The queue for plain code on every store, with workers and inline execution."""

import sys
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import shop
from lq_core import QueueConfig, SyncQueueService, TaskStatus
from programs import run

SCRIPT = """
    from lq_core import QueueConfig, SyncQueueService, task
    from lq_core.queue.sqlite import SQLiteConfig

    @task(name="script.double")
    async def double(number: int) -> int:
        return 2 * number

    queue = SyncQueueService(QueueConfig(queue_backend=SQLiteConfig(path="script.db")))
    print(queue.enqueue(double, 21).status)
"""


def test_inline_tasks_run_in_the_call(config: QueueConfig) -> None:
    with SyncQueueService(replace(config, execution_backend="immediate")) as queue:
        sent = queue.enqueue(shop.add, 1, 2)

        assert sent.status is TaskStatus.COMPLETED
        assert sent.wait(timeout=5) == 3


async def test_a_script_that_does_not_close_it_ends_and_stores_its_call(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(dedent(SCRIPT))

    answer = await run(sys.executable, "script.py", folder=tmp_path)
    worker = await run(
        sys.executable, "-m", "lq_core", "records", "list", "--json", folder=tmp_path, LQ_SQLITE_PATH="script.db"
    )

    assert (answer.code, answer.out, answer.err) == (0, "pending\n", "")
    assert "script.double" in worker.out
