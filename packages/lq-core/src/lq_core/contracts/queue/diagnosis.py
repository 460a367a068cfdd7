"""The contract of queue backends for the checks of ``lq doctor``."""

from collections.abc import Mapping

from msgspec.structs import replace

from lq_core.contracts.records import a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend
from lq_core.queue.diagnosis import Finding
from lq_core.records import lifecycle
from lq_core.records.record import TaskFailure


class DiagnosisContract:
    """Diagnose."""

    async def test_a_queue_that_is_well_needs_no_advice(self, queue: BaseQueueBackend) -> None:
        """Records that a live worker will take cause no warning."""
        await queue.register(a_worker())
        await queue.insert([a_record(), a_record(delay=60)])

        assert {finding.advice for finding in await queue.diagnose()} == {None}

    async def test_a_record_that_waits_for_long_is_noticed(self, queue: BaseQueueBackend) -> None:
        """The finding names the paused queue."""
        await queue.register(a_worker())
        await queue.change_queue("mail", paused=True)
        await queue.insert([a_record(delay=-600, queue="mail")])

        finding = (await _findings(queue))["oldest ready record"]

        assert finding.found.endswith("; 1 worker alive; paused: mail")
        assert finding.advice == "Resume the queues that should run: lq queues resume mail"

    async def test_records_that_no_worker_serves_are_noticed(self, queue: BaseQueueBackend) -> None:
        """The finding names the queue and the execution backend."""
        await queue.register(replace(a_worker(), queues=("mail",)))
        await queue.insert([a_record(queue="mail"), a_record(queue="film"), a_record(execution_backend="cloud")])

        finding = (await _findings(queue))["records without a worker"]

        assert finding.found == "2 records of queue 'default' on 'cloud', queue 'film' on 'local'"

    async def test_a_running_record_without_a_worker_is_noticed(self, queue: BaseQueueBackend) -> None:
        """The warning stays until a worker rescues the record."""
        (running,) = await claimed(queue, a_record())
        await queue.retire("ada")

        finding = (await _findings(queue))["running records"]

        assert finding.found == "1 running, 1 without a live worker"
        assert str(running.id) in (finding.advice or "")

    async def test_tasks_that_no_worker_knows_yet_are_noticed(self, queue: BaseQueueBackend) -> None:
        """The finding says since when; the records wait for a worker of another version."""
        (running,) = await claimed(queue, a_record(task_name="mail.send"))
        unknown, at = TaskFailure(type="UnknownTaskError", message="No such task."), queue.now()
        await queue.swap([a_swap(lifecycle.pass_on(running, failure=unknown, patience=60, at=at))])

        finding = (await _findings(queue))["unknown tasks"]

        assert finding.found == f"mail.send since {at:%Y-%m-%d %H:%M:%S} (No such task.)"
        assert finding.level == "warning"

    async def test_tasks_that_no_worker_knows_are_noticed(self, queue: BaseQueueBackend) -> None:
        """The records that failed for this reason show it."""
        (running,) = await claimed(queue, a_record(task_name="mail.send"))
        unknown = TaskFailure(type="UnknownTaskError", message="No task is registered as 'mail.send'.")
        failed = lifecycle.retry_or_fail(running, failure=unknown, delay=None, at=queue.now())
        await queue.swap([a_swap(failed)])

        finding = (await _findings(queue))["unknown tasks"]

        assert finding.found == "mail.send"
        assert (finding.advice or "").endswith("lq records retry --status failed --task mail.send")


async def _findings(queue: BaseQueueBackend) -> Mapping[str, Finding]:
    return {finding.check: finding for finding in await queue.diagnose()}
