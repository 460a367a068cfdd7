"""What a queue backend tells of what hurts."""

from collections.abc import Mapping

from msgspec.structs import replace

from lq_core import lifecycle
from lq_core.queue import BaseQueueBackend
from lq_core.queue.diagnosis import Finding
from lq_core.record import TaskFailure
from lq_core.testing.records import a_record, a_swap, a_worker, claimed


class DiagnosisContract:
    """Diagnose."""

    async def test_a_queue_that_is_well_needs_no_advice(self, queue: BaseQueueBackend) -> None:
        """Records that a living worker will take are no reason to worry."""
        await queue.register(a_worker())
        await queue.insert([a_record(), a_record(delay=60)])

        assert {finding.advice for finding in await queue.diagnose()} == {None}

    async def test_a_record_that_waits_for_long_is_noticed(self, queue: BaseQueueBackend) -> None:
        """And the paused queue is named that keeps it waiting."""
        await queue.register(a_worker())
        await queue.change_queue("mail", paused=True)
        await queue.insert([a_record(delay=-600, queue="mail")])

        finding = (await _findings(queue))["oldest ready record"]

        assert finding.found.endswith("; 1 worker alive; paused: mail")
        assert finding.advice == "Resume what is to run: lq queues resume mail"

    async def test_records_that_no_worker_serves_are_noticed(self, queue: BaseQueueBackend) -> None:
        """By queue and by execution backend."""
        await queue.register(replace(a_worker(), queues=("mail",)))
        await queue.insert([a_record(queue="mail"), a_record(queue="film"), a_record(execution_backend="cloud")])

        finding = (await _findings(queue))["records without a worker"]

        assert finding.found == "2 records of queue 'default' on 'cloud', queue 'film' on 'local'"

    async def test_a_running_record_without_a_worker_is_noticed(self, queue: BaseQueueBackend) -> None:
        """Until a worker gives it back to the queue."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")

        finding = (await _findings(queue))["running records"]

        assert finding.found == "1 run here, 1 without a worker that is alive"
        assert str(running.id) in (finding.advice or "")

    async def test_tasks_that_no_worker_knows_are_noticed(self, queue: BaseQueueBackend) -> None:
        """By the records that failed for that."""
        (running,) = await claimed(queue, a_record(task_name="mail.send"))
        unknown = TaskFailure(type="UnknownTaskError", message="No task is registered as 'mail.send'.")
        failed = lifecycle.retry_or_fail(running, failure=unknown, delay=None, at=queue.now())
        await queue.swap([a_swap(failed)])

        finding = (await _findings(queue))["unknown tasks"]

        assert finding.found == "mail.send"
        assert (finding.advice or "").endswith("lq records retry --status failed --task mail.send")


async def _findings(queue: BaseQueueBackend) -> Mapping[str, Finding]:
    return {finding.check: finding for finding in await queue.diagnose()}
