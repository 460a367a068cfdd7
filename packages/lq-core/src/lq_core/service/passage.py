"""The way of one attempt through its middleware: whatever a layer does, the record gets its one outcome."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from lq_core.attempt import Attempt
from lq_core.event_log import event_log
from lq_core.middleware import Middleware
from lq_core.record import QueuedTaskRecord

log = event_log()

Settle: TypeAlias = Callable[[Attempt, BaseException | None], Awaitable[QueuedTaskRecord]]
"""Performs an attempt, or ends it with the error that kept it from being performed, and records the outcome."""


def pass_through(layers: Sequence[Middleware], attempt: Attempt, settle: Settle) -> Awaitable[QueuedTaskRecord]:
    """Run an attempt with *layers* around it, outermost first, and return the record as it was recorded."""
    return _Layer(layers, attempt, settle).run() if layers else settle(attempt, None)


class _Layer:
    """One middleware around the rest of them."""

    __slots__ = ("_attempt", "_begun", "_inner", "_kept", "_middleware", "_settle")

    def __init__(self, layers: Sequence[Middleware], attempt: Attempt, settle: Settle) -> None:
        self._middleware = layers[0]
        self._inner = layers[1:]
        self._attempt = attempt
        self._settle = settle
        self._begun = False
        self._kept: QueuedTaskRecord | None = None

    async def run(self) -> QueuedTaskRecord:
        problem: BaseException | None = None
        try:
            await self._middleware(self._attempt.context, self._proceed)
            if self._kept is not None:
                return self._kept
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- middleware may raise anything, and the record has its outcome
            problem = error
        try:
            return await self._outcome(problem)
        finally:
            del problem  # Its traceback holds this very frame.

    async def _proceed(self) -> QueuedTaskRecord:
        if self._begun:
            raise RuntimeError("proceed() was called before for this attempt.")
        self._begun = True
        self._kept = await pass_through(self._inner, self._attempt, self._settle)
        return self._kept

    async def _outcome(self, problem: BaseException | None) -> QueuedTaskRecord:
        if not self._begun:
            problem = problem or RuntimeError(f"{self._middleware!r} has not called proceed().")
            return await self._settle(self._attempt, problem)
        if self._kept is None:
            # The outcome could not be recorded, or nobody waits for it: no middleware makes up for that.
            raise problem or RuntimeError(f"{self._middleware!r} has not waited for proceed().")
        if problem is not None and not self._attempt.is_abandoned:
            record = self._attempt.record
            facts = {"middleware": repr(self._middleware), "task_name": record.task_name, "record_id": str(record.id)}
            log.warning("middleware.failed", extra=facts, exc_info=problem)
        return self._kept
