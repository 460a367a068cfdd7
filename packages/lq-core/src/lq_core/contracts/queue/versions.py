"""The contract of queue backends that tell cheaply whether anything has changed; a backend that does not passes."""

from lq_core.contracts.queue.schedules import a_state
from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker
from lq_core.queue import BaseQueueBackend, Versions
from lq_core.records import lifecycle


class VersionContract:
    """The version of the whole store."""

    async def test_every_change_makes_another_version(self, queue: BaseQueueBackend) -> None:
        """Of a record, of a worker, and of the state of a queue or a schedule."""
        if not isinstance(queue, Versions):
            return
        versions = [await queue.version()]

        await queue.insert([a_record()])
        versions.append(await queue.version())
        await queue.register(a_worker())
        versions.append(await queue.version())
        (running,) = (await queue.claim(a_claim())).records
        versions.append(await queue.version())
        await queue.request_cancel(running.id, running.epoch)
        versions.append(await queue.version())
        await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))])
        versions.append(await queue.version())
        await queue.delete_many([running.id])
        versions.append(await queue.version())
        await queue.beat("ada")
        versions.append(await queue.version())
        await queue.retire("ada")
        versions.append(await queue.version())
        await queue.change_queue("mail", paused=True)
        versions.append(await queue.version())
        await queue.save_schedule(a_state(queue))
        versions.append(await queue.version())

        assert len(set(versions)) == 11
