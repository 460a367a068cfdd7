"""The contract of queue backends that keep what people have changed; a backend that keeps nothing passes."""

from datetime import timedelta

from lq_core.queue import Action, Actions, BaseQueueBackend


class ActionContract:
    """The changes of the last days."""

    async def test_changes_are_read_newest_first_and_old_ones_go(self, queue: BaseQueueBackend) -> None:
        """Each with who asked for it."""
        if not isinstance(queue, Actions):
            return
        at = queue.now()
        noted = [
            Action(at=at + timedelta(seconds=number), actor="ada", action="pause queue", subject=f"mail {number}")
            for number in range(3)
        ]
        for action in noted:
            await queue.add_action(action, oldest=at)

        assert list(await queue.actions(limit=2)) == [noted[2], noted[1]]
        await queue.add_action(noted[2], oldest=noted[2].at)
        assert list(await queue.actions(limit=10)) == [noted[2], noted[2]]
