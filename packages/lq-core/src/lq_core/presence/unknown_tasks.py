"""Passes on the records of tasks that this process does not know: many at once, and without slots."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Final, Protocol

from lq_core.attempts.outcome_log import tell_outcome
from lq_core.foundation.errors import StorageError
from lq_core.foundation.event_log import event_log
from lq_core.presence.outcome_storing import pause_after
from lq_core.queue import BaseQueueBackend
from lq_core.records import lifecycle
from lq_core.records.outcome import Outcome, outcome_of
from lq_core.records.record import QueuedTaskRecord, TaskFailure, TaskStatus
from lq_core.tasks.known_tasks import is_known

log = event_log()

FLOOD: Final = 50
"""More records of unknown tasks than this, and no other record between them, are very many."""


class Holding(Protocol):
    """Who holds the records that are being passed on."""

    def hold(self, record: QueuedTaskRecord) -> None:
        """Hold a record."""
        ...

    def drop(self, record: QueuedTaskRecord) -> None:
        """Stop holding a record."""
        ...


class UnknownTasks:
    """
    The tasks that attempts of one presence did not find.

    The first record of a task goes through an attempt, because its function may run in another process, which may
    know more tasks. The next ones do not.
    """

    def __init__(
        self,
        backend: BaseQueueBackend,
        *,
        swap: Callable[[QueuedTaskRecord, QueuedTaskRecord], Awaitable[bool]],
        is_closing: Callable[[], bool],
        holding: Holding,
        uncertain: Callable[[], None],
    ) -> None:
        self._backend = backend
        self._swap = swap
        self._is_closing = is_closing
        self._holding = holding
        self._uncertain = uncertain
        """Called if it is not known whether records were passed on."""

        self._passing_on: dict[asyncio.Task[bool], Sequence[QueuedTaskRecord]] = {}
        self.delayed = 0
        """How many records cannot be passed on now, because that cannot be stored."""

        self._failures: dict[tuple[str, str], TaskFailure] = {}
        """Why attempts passed records on, by task and execution backend."""

        self._told: set[str] = set()
        self._in_a_row = 0

    def note(self, before: QueuedTaskRecord, after: QueuedTaskRecord) -> None:
        """Log the outcome of an attempt, and remember a task that it did not find."""
        outcome = outcome_of(before, after)
        tell_outcome(before, after, outcome, passed_on=self._told)
        if outcome is not Outcome.PASSED_ON:
            return
        failure = after.history[-1].failure
        if failure is not None and failure.type == "UnknownTaskError":
            self._failures[before.task_name, before.execution_backend] = failure

    def others(self, records: Sequence[QueuedTaskRecord], *, limit: int) -> Sequence[QueuedTaskRecord]:
        """
        Return the claimed records of other tasks, and pass on those of these; *limit* is how many the claim asked for.

        If claims find nothing but very many records of these tasks, these come back spread over a minute, so that
        there is time for others in between.
        """
        if not self._failures:
            return records
        unknown: list[QueuedTaskRecord] = []
        others: list[QueuedTaskRecord] = []
        for record in records:
            (unknown if self._is_unknown(record) else others).append(record)
        self._in_a_row = self._in_a_row + len(unknown) if len(unknown) == limit else 0
        if not unknown:
            return others
        for record in unknown:
            self._holding.hold(record)
        passing_on = asyncio.create_task(self._pass_on(unknown, is_flood=self._in_a_row > FLOOD))
        self._passing_on[passing_on] = unknown
        passing_on.add_done_callback(self._note_end)
        return others

    def _note_end(self, passing_on: asyncio.Task[bool]) -> None:
        for record in self._passing_on.pop(passing_on):
            self._holding.drop(record)
        if passing_on.cancelled() or passing_on.exception() is not None or not passing_on.result():
            self._uncertain()

    async def _pass_on(self, records: Sequence[QueuedTaskRecord], *, is_flood: bool) -> bool:
        """Pass these records on, and return whether their state is known to be stored; retry while nothing can be."""
        steps = [(record, self._passed_on(record, is_flood=is_flood)) for record in records]
        delayed = 0
        try:
            for tries in count():
                answers = await asyncio.gather(*(self._swap(*step) for step in steps), return_exceptions=True)
                for (before, after), answer in zip(steps, answers, strict=True):
                    if answer is True:
                        tell_outcome(before, after, Outcome.PASSED_ON, passed_on=self._told)
                problems = [answer for answer in answers if isinstance(answer, BaseException)]
                if problems:
                    log.warning("record.not_passed_on", extra={"records": len(problems), "error": str(problems[0])})
                steps = [step for step, one in zip(steps, answers, strict=True) if isinstance(one, StorageError)]
                if not steps or len(steps) < len(problems) or self._is_closing():
                    return not problems
                self.delayed += len(steps) - delayed
                delayed = len(steps)
                await asyncio.sleep(pause_after(tries))
        finally:
            self.delayed -= delayed
        raise AssertionError

    def _passed_on(self, record: QueuedTaskRecord, *, is_flood: bool) -> QueuedTaskRecord:
        least = random.uniform(0, lifecycle.LONGEST_PAUSE) if is_flood else 0.0  # noqa: S311 -- it only spreads the load
        failure = self._failures[record.task_name, record.execution_backend]
        patience, at = self._backend.config.unknown_task_patience, self._backend.now()
        return lifecycle.pass_on(record, failure=failure, patience=patience, least=least, at=at)

    def _is_unknown(self, record: QueuedTaskRecord) -> bool:
        kind = record.task_name, record.execution_backend
        return kind in self._failures and record.status is TaskStatus.RUNNING and not is_known(record.task_name)
