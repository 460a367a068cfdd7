"""What is tried again after a failure, and when: judged by the classes of the exception, and by a function."""

import logging
import math
from datetime import UTC, datetime
from uuid import UUID

import pytest

from lq_core import Backoff, ConfigurationError, NonRetryable, QueuedTaskRecord, RetryLater, task
from lq_core.records.backoff import retry_delay
from lq_core.records.record import RetryRules
from lq_core.tasks.context import LINE_LIMIT
from lq_core.tasks.options import OptionArguments

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIXED = Backoff(base=7, factor=1, jitter=0)


class BrokenPrinterError(OSError):
    """An exception of the application's."""


@task(name="retries.fetch", retries=3)
def fetch() -> None:
    raise NotImplementedError


def patience(failures: int) -> float:
    """Count the failures, in seconds."""
    return failures


def impatience(failures: int) -> object:
    """Answer with what is no number of seconds."""
    return {1: "soon", 2: -1.0, 3: math.inf}[failures]


def failed(rules: RetryRules | None = None, *, failures: int = 1) -> QueuedTaskRecord:
    return QueuedTaskRecord(
        id=UUID(int=1),
        task_name="t",
        created_at=NOON,
        scheduled_at=NOON,
        retries=5,
        retry_count=failures - 1,
        backoff=FIXED,
        retry_rules=rules,
    )


@pytest.mark.parametrize(
    "rules, error, delay",
    [
        (RetryRules(), ValueError(), 7),
        (RetryRules(only=("builtins.OSError",)), BrokenPrinterError(), 7),
        (RetryRules(only=("builtins.OSError",)), TimeoutError(), 7),
        (RetryRules(only=("builtins.OSError",)), ValueError(), None),
        (RetryRules(only=("builtins.OSError", "builtins.ValueError")), ValueError(), 7),
        (RetryRules(never=("builtins.OSError",)), BrokenPrinterError(), None),
        (RetryRules(never=("builtins.OSError",)), ValueError(), 7),
        (RetryRules(only=("builtins.OSError",), never=(f"{__name__}.BrokenPrinterError",)), BrokenPrinterError(), None),
        (RetryRules(only=("builtins.OSError",), never=(f"{__name__}.BrokenPrinterError",)), OSError(), 7),
    ],
)
def test_a_failure_is_judged_by_the_classes_of_its_exception(
    rules: RetryRules, error: Exception, delay: float | None
) -> None:
    assert retry_delay(failed(rules), error) == delay


def test_a_failure_without_an_exception_is_retried() -> None:
    assert retry_delay(failed(RetryRules(only=("builtins.OSError",)))) == 7


def test_a_spent_budget_is_spent_whatever_the_rules_say() -> None:
    assert retry_delay(failed(RetryRules(only=("builtins.OSError",)), failures=6), OSError()) is None


def test_a_function_says_how_long_to_wait() -> None:
    rules = RetryRules(wait=f"{__name__}:patience")

    assert [retry_delay(failed(rules, failures=number)) for number in (1, 2, 5)] == [1, 2, 5]


@pytest.mark.parametrize(
    "wait, failures, problem",
    [
        (f"{__name__}:impatience", 1, "It returned 'soon'; it must return seconds"),
        (f"{__name__}:impatience", 2, "It returned -1.0"),
        (f"{__name__}:impatience", 3, "It returned inf"),
        (f"{__name__}:impatience", 4, "4"),
        (f"{__name__}:gone", 1, "has no attribute 'gone'"),
        ("no_such_module:patience", 1, "is not in a package of the tasks of this process"),
        ("posixpath:os.mkdir", 1, "is not in a package of the tasks of this process"),
        (f"{__name__}:logging.getLevelName", 1, "is not in a package of the tasks of this process"),
    ],
)
def test_a_function_that_gives_no_answer_is_logged_and_done_without(
    caplog: pytest.LogCaptureFixture, wait: str, failures: int, problem: str
) -> None:
    with caplog.at_level(logging.WARNING, logger="lq"):
        delay = retry_delay(failed(RetryRules(wait=wait), failures=failures))

    assert delay == 7
    (told,) = caplog.records
    assert told.getMessage().startswith("retry.backoff_failed")
    assert problem in told.getMessage()


@pytest.mark.parametrize(
    "options, backoff",
    [
        ({"backoff": 90_000}, Backoff(base=90_000, factor=1, cap=90_000, jitter=0)),
        ({"backoff": FIXED}, FIXED),
        ({"backoff": patience}, f"{__name__}:patience"),
        ({"backoff": math.exp}, "math:exp"),
        ({"backoff": None}, None),
    ],
    ids=["seconds", "backoff", "function", "builtin", "none"],
)
def test_a_backoff_is_a_policy_or_seconds_or_a_function(
    options: OptionArguments, backoff: Backoff | str | None
) -> None:
    assert fetch.using(**options).options.backoff == backoff


def test_a_lambda_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"No other process can find .*<lambda>"):
        fetch.using(backoff=lambda failures: failures)


def test_exceptions_are_kept_by_name_and_may_be_changed_per_call() -> None:
    careful = fetch.using(retry_on=(OSError, BrokenPrinterError), never_retry_on=[NonRetryable])

    assert careful.options.retry_on == ("builtins.OSError", f"{__name__}.BrokenPrinterError")
    assert careful.options.never_retry_on == ("lq_core.tasks.context.NonRetryable",)
    assert careful.using(retry_on=None, priority=1).options.retry_on is None
    assert careful.using(priority=1).options.retry_on == careful.options.retry_on


def test_a_long_message_of_a_snooze_is_cut() -> None:
    message = RetryLater(5, "x" * 5_000).message

    assert message == "x" * LINE_LIMIT + "..."
