"""The contract of queue backends that tell cheaply whether anything has changed; a backend that does not passes."""

from lq_core.contracts.records import a_record, claimed
from lq_core.queue import BaseQueueBackend, Versions


class VersionContract:
    """The version of the whole store."""

    async def test_every_change_makes_another_version(self, queue: BaseQueueBackend) -> None:
        """Of a record, and of the state of a queue."""
        if not isinstance(queue, Versions):
            return
        versions = [await queue.version()]

        await queue.insert([a_record()])
        versions.append(await queue.version())
        await claimed(queue, a_record())
        versions.append(await queue.version())
        await queue.change_queue("mail", paused=True)
        versions.append(await queue.version())

        assert len(set(versions)) == 4
