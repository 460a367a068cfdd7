"""Stores the completed steps of running tasks before the tasks go on."""

import asyncio
from collections.abc import Mapping

from lq_core.attempts.attempt import Attempt, StopReason
from lq_core.foundation.errors import OwnershipLostError, StorageError
from lq_core.foundation.event_log import event_log
from lq_core.presence.outcome_storing import pause_after
from lq_core.queue import BaseQueueBackend, Swap
from lq_core.records import steps
from lq_core.records.record import Fence

log = event_log()


class KeptSteps:
    """The steps of one presence; *attempts* are the running ones."""

    def __init__(self, backend: BaseQueueBackend, attempts: Mapping[Fence, Attempt]) -> None:
        self._backend = backend
        self._attempts = attempts

    async def keep(self, fence: Fence, event: str, name: str, value: str) -> None:
        """
        Store a named value in the record of an attempt, under its epoch; retry while the database is unavailable.

        Raises OwnershipLostError, and stops the attempt, if the record has another owner.
        """
        attempt = self._attempts.get(fence)
        if attempt is None:
            raise OwnershipLostError(*fence)
        if attempt.completed is not None:  # The write would wait for the transaction of the task.
            raise RuntimeError(f"The {event} {name!r} comes after complete_in(), which ends the task; put it before.")
        most_bytes, at = self._backend.config.max_payload_bytes, self._backend.now()
        attempt.record = steps.keep(attempt.record, event, name, value, at=at, most_bytes=most_bytes)
        tries = 0
        while True:
            try:
                (is_kept,) = await self._backend.swap([Swap(record=attempt.record, epoch=attempt.record.epoch)])
                break
            except StorageError as error:
                log.warning("record.step_delayed", extra={"record_id": str(fence[0]), "error": str(error)})
                await asyncio.sleep(pause_after(tries))
                tries += 1
        if not is_kept:
            attempt.stop(StopReason.LOST)
            raise OwnershipLostError(*fence)
