"""Runs apart the records that may have killed their workers, so that they take no other record with them."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from lq_core.execution import BaseExecutionBackend
from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_core.presence.outcome_storing import pause_after
from lq_core.presence.presence import Presence
from lq_core.presence.slots import Execution
from lq_core.records import lifecycle
from lq_core.records.record import QueuedTaskRecord
from lq_core.service import QueueService

log = event_log()

SUSPECT: Final = 2
"""From this many losses on, a record may be what kills its workers; a single loss is more often that of a machine."""

PAUSE: Final = 1.0
"""Seconds between the records with losses that a worker releases, so that other workers and later claims find them."""

LONGEST_PAUSE: Final = 30.0

PATIENCE: Final = 600.0
"""Seconds after which a record whose next loss fails it may run beside others, on a worker that is never idle."""


class Isolation:
    """
    Starts at most one record with losses at a time, the one with the fewest losses first.

    A record whose next loss fails it starts only while nothing else runs, and then runs alone.
    """

    def __init__(self, service: QueueService, presence: Presence, backends: Mapping[str, BaseExecutionBackend]) -> None:
        self._service = service
        self._presence = presence
        self._isolating = {name for name, backend in backends.items() if backend.isolates}
        self._running: Execution | None = None
        self._released = 0
        """The number of records that were released since the last one with losses was started."""

        self.is_exclusive = False
        """Whether a record runs that no other may run beside."""

    def to_release(self, records: Sequence[QueuedTaskRecord], *, busy: int) -> Sequence[QueuedTaskRecord]:
        """Find which of these claimed records must not start beside the others and *busy* running ones."""
        suspects = [one for one in records if one.losses and self._is_suspect(one)]
        if not suspects:
            return ()
        first, *others = sorted(suspects, key=lambda record: record.losses)
        beside = busy + len(records) - len(suspects)
        if self._running is not None or (beside and self._must_be_alone(first)):
            return suspects
        self.is_exclusive = not beside and self._must_be_alone(first)
        return others

    def started(self, record: QueuedTaskRecord, execution: Execution) -> None:
        """Note the start of a record that need not be released."""
        if self._is_suspect(record):
            self._running, self._released = execution, 0
            execution.add_done_callback(self._ended)

    async def release(self, record: QueuedTaskRecord) -> QueuedTaskRecord:
        """
        Release a claimed record for a while; it counts as never claimed.

        It keeps its slot until this is stored, or else a worker could claim more and more while nothing can be stored.
        """
        self._released += 1
        pause = min(PAUSE * self._released, LONGEST_PAUSE)
        after = lifecycle.release_claim(record, delay=pause, at=self._service.queue_backend.now())
        for tries in count():
            try:
                with self._presence.claiming():
                    await self._service.swap(record, after)
                break
            except StorageError as error:
                if self._presence.is_closing:
                    break  # The audit, or another worker, releases it.
                log.warning("record.release_delayed", extra={"record_id": str(record.id), "error": str(error)})
                await asyncio.sleep(pause_after(tries))
        return after

    def _is_suspect(self, record: QueuedTaskRecord) -> bool:
        if not record.losses or record.execution_backend in self._isolating:
            return False
        return record.losses >= SUSPECT or lifecycle.fails_at_next_loss(record)

    def _ended(self, _: Execution) -> None:
        self._running, self.is_exclusive = None, False

    def _must_be_alone(self, record: QueuedTaskRecord) -> bool:
        lost = [entry.at for entry in record.history if entry.event == "lost"]
        waited = (self._service.queue_backend.now() - lost[-1]).total_seconds() if lost else 0.0
        return lifecycle.fails_at_next_loss(record) and waited < PATIENCE
