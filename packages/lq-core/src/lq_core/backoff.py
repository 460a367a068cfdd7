"""Whether a failure is followed by another attempt, and how long after."""

import random
from typing import Final

from lq_core.clock import LONGEST_WAIT
from lq_core.event_log import event_log
from lq_core.import_path import function_at, path_of_class
from lq_core.record import Backoff, QueuedTaskRecord, RetryRules

log = event_log()

DEFAULT_BACKOFF: Final = Backoff()


def retry_delay(record: QueuedTaskRecord, error: BaseException | None = None) -> float | None:
    """
    Draw the seconds until the next attempt of a record that has just failed; None when there is to be none.

    The record's rules judge *error*; a failure that is no exception is always retried while the budget lasts.
    """
    rules = record.retry_rules or RetryRules()
    if record.retry_count >= record.retries or (error is not None and not _is_retried(error, rules)):
        return None
    failures = record.retry_count + 1
    asked = None if rules.wait is None else _asked(rules.wait, failures, record)
    return backoff_delay(record.backoff, failures) if asked is None else asked


def backoff_delay(backoff: Backoff | None, failures: int) -> float:
    """Draw the seconds to wait after this many failures (1 for the first), by *backoff* or the house's default."""
    policy = backoff or DEFAULT_BACKOFF
    try:
        wait = policy.base * policy.factor ** (failures - 1)
    except OverflowError:
        wait = policy.cap
    wait = min(wait, policy.cap, LONGEST_WAIT)
    return wait * (1 + policy.jitter * (2 * random.random() - 1))  # noqa: S311 -- spreads load; nothing depends on it


def _is_retried(error: BaseException, rules: RetryRules) -> bool:
    kinds = {path_of_class(kind) for kind in type(error).__mro__}
    return kinds.isdisjoint(rules.never) and (rules.only is None or not kinds.isdisjoint(rules.only))


def _asked(path: str, failures: int, record: QueuedTaskRecord) -> float | None:
    """Ask the user's function; None when it gives no answer that can be used."""
    try:
        return _seconds(function_at(path)(failures))
    except Exception as error:
        facts = {"record_id": str(record.id), "task_name": record.task_name, "function": path, "error": str(error)}
        log.warning("retry.backoff_failed", extra=facts, exc_info=True)
        return None


def _seconds(wait: object) -> float:
    if not (isinstance(wait, (int, float)) and 0 <= wait <= LONGEST_WAIT):
        raise ValueError(f"It returned {wait!r}; it must return seconds, from 0 to {LONGEST_WAIT:g}.")
    return float(wait)
