"""Runs an attempt through its middleware; whatever a layer does, the record gets one outcome."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeAlias

from lq_core.attempts.attempt import Attempt
from lq_core.foundation.event_log import event_log
from lq_core.records.record import QueuedTaskRecord
from lq_core.tasks.middleware import Middleware

log = event_log()

_WAY: Final = "await it, and return its record."

Settle: TypeAlias = Callable[[Attempt, BaseException | None], Coroutine[Any, Any, QueuedTaskRecord]]
"""Performs an attempt, or ends it with an error that came before, and records the outcome."""


def through_middleware(
    layers: Sequence[Middleware], attempt: Attempt, settle: Settle
) -> Coroutine[Any, Any, QueuedTaskRecord]:
    """Run an attempt with *layers* around it, outermost first, and return the record as it was recorded."""
    return _through_first(layers, attempt, settle) if layers else settle(attempt, None)


async def _through_first(layers: Sequence[Middleware], attempt: Attempt, settle: Settle) -> QueuedTaskRecord:
    middleware, *inner = layers
    begun = False
    kept: QueuedTaskRecord | None = None
    problem: BaseException | None = None

    async def proceed() -> QueuedTaskRecord:
        nonlocal begun, kept
        if begun:
            raise RuntimeError("This attempt has called proceed() already; a middleware calls it once.")
        begun = True
        kept = await through_middleware(inner, attempt, settle)
        return kept

    try:
        try:
            await middleware(attempt.context, proceed)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 -- middleware may raise anything
            problem = error
        if not begun:
            return await settle(attempt, problem or RuntimeError(f"{middleware!r} has not called proceed(): {_WAY}"))
        if kept is None:  # The outcome could not be recorded, or the attempt was abandoned.
            raise problem or RuntimeError(f"{middleware!r} has not awaited proceed(): {_WAY}")
        if problem is not None and not attempt.is_abandoned:
            record = attempt.record
            facts = {"middleware": repr(middleware), "task_name": record.task_name, "record_id": str(record.id)}
            log.warning("middleware.failed", extra=facts, exc_info=problem)
        return kept
    finally:
        del problem  # Its traceback refers to this frame.
