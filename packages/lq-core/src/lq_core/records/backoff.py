"""Whether a failure is retried, and after how many seconds."""

import random
from asyncio import CancelledError
from datetime import timedelta
from typing import Final, cast

from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.foundation.duration import seconds
from lq_core.foundation.event_log import event_log
from lq_core.foundation.import_path import function_at, path_of
from lq_core.records.record import Backoff, QueuedTaskRecord, RetryRules

log = event_log()

DEFAULT_BACKOFF: Final = Backoff()


def retry_delay(record: QueuedTaskRecord, error: BaseException | None = None) -> float | None:
    """
    Draw the seconds until the next attempt of a record that has just failed; None for no retry.

    The retry rules of the record apply to *error*; a failure without an exception is retried while the budget lasts.
    """
    rules = record.retry_rules or RetryRules()
    if record.retry_count >= record.retries or (error is not None and not _is_retried(error, rules)):
        return None
    failures = record.retry_count + 1
    asked = None if rules.wait is None else _asked(rules.wait, failures, record)
    return backoff_delay(record.backoff, failures) if asked is None else asked


def is_never_retried(record: QueuedTaskRecord, error: BaseException) -> bool:
    """Whether ``never_retry_on`` names *error*, or an exception in it if it is an exception group."""
    never = record.retry_rules.never if record.retry_rules else ()
    return not _is_retried(error, RetryRules(never=never))


def backoff_delay(backoff: Backoff | None, failures: int) -> float:
    """Draw the seconds to wait after this many failures (1 for the first); None is the default backoff."""
    policy = backoff or DEFAULT_BACKOFF
    cap = seconds(policy.cap)
    try:
        wait = seconds(policy.base) * policy.factor ** (failures - 1)
    except OverflowError:
        wait = cap
    wait = min(wait, cap, LONGEST_WAIT)
    return wait * (1 + policy.jitter * (2 * random.random() - 1))  # noqa: S311 -- it only spreads the load


def _is_retried(error: BaseException, rules: RetryRules, groups: frozenset[str] = frozenset()) -> bool:
    """Whether the rules allow a retry; of a group, for each exception in it, by its classes and those of *groups*."""
    kinds = groups | {path_of(kind) for kind in type(error).__mro__}
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return all(_is_retried(one, rules, kinds) for one in group.exceptions)
    if groups and isinstance(error, CancelledError):
        return True  # It follows from the other exceptions.
    return kinds.isdisjoint(rules.never) and (rules.only is None or not kinds.isdisjoint(rules.only))


def _asked(path: str, failures: int, record: QueuedTaskRecord) -> float | None:
    """Call the user's function; None if it gives no usable answer."""
    try:
        answer: object = function_at(path)(failures)
        wait = answer.total_seconds() if isinstance(answer, timedelta) else answer
        if not (isinstance(wait, (int, float)) and 0 <= wait <= LONGEST_WAIT):
            raise ValueError(  # noqa: TRY301 -- it is logged below
                f"It returned {answer!r}; it must return seconds, from 0 to {LONGEST_WAIT:g}, or a timedelta."
            )
        return float(wait)
    except Exception as error:
        facts = {"record_id": str(record.id), "task_name": record.task_name, "function": path, "error": str(error)}
        log.warning("retry.backoff_failed", extra=facts, exc_info=True)
        return None
