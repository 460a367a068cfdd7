"""Tasks: their names, options, and what cannot be one."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from typing_extensions import override

from lq_core import (
    Backoff,
    ConfigurationError,
    DuplicateTaskError,
    QueueConfig,
    QueueService,
    RateLimit,
    RecordFilter,
    TaskContext,
    TaskDefinitionError,
    UnknownTaskError,
    find_task,
    task,
)
from lq_core.tasks.options import OptionArguments


@task(queue="mail", retries=3, name="tests.greet")
async def greet(name: str, *, language: str = "en") -> str:
    return f"{language} {name}"


@task
def measure(context: TaskContext, text: str) -> int:
    return len(text) + context.attempt


def test_a_task_is_still_a_function() -> None:
    assert measure.function.__name__ == "measure"
    assert greet.__doc__ == greet.function.__doc__


async def test_calling_a_task_runs_it_here() -> None:
    assert await greet("ada") == "en ada"


def test_using_makes_a_copy_and_leaves_the_task_alone() -> None:
    urgent = greet.using(priority=5, key="k")

    assert (urgent.options.priority, urgent.options.queue, urgent.options.retries) == (5, "mail", 3)
    assert (greet.options.priority, greet.options.key) == (0, None)
    assert urgent.name == greet.name


def test_the_context_is_not_an_argument_of_the_call() -> None:
    assert measure.call("abc").arguments == '{"text":"abc"}'


def test_options_and_arguments_may_have_the_same_names() -> None:
    @task(name="tests.prioritise")
    def prioritise(priority: str, queue: int) -> None:
        raise NotImplementedError

    call = prioritise.using(priority=3, queue="q").call("high", queue=1)

    assert (call.arguments, call.options.priority, call.options.queue) == ('{"priority":"high","queue":1}', 3, "q")


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"delay": -2}, "delay is -2"),
        ({"delay": float("inf")}, "delay is inf"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"priority": "high"}, "priority"),
        ({"priority": 2**70}, "priority is 1180591620717411303424"),
        ({"key": ""}, "key is ''; it must be text of 1 to 255 characters"),
        ({"key": "k" * 300}, r"key is 'kkk.*\(300 characters\); it must be text of 1 to 255"),
        ({"key": "k", "key_from": ("name",)}, r"key is 'k' and key_from is \('name',\)"),
        ({"key_from": ()}, r"key_from is \(\)"),
        ({"key_from": ("nam",)}, "key_from names 'nam'.* Did you mean 'name'"),
        ({"key_scope": "window"}, "key_scope is 'window'; give its length"),
        ({"key_scope": "forever"}, "key_scope"),
        ({"key_scope": "started", "key_window": 5}, "key_scope is 'started' and key_window is 5"),
        ({"key_window": 0}, "key_window is 0"),
        ({"key_window": float("nan")}, "key_window is nan"),
        ({"on_conflict": "shrug"}, "it must be 'return_existing', 'reject', 'replace' or 'debounce'."),
        ({"key_scope": "endd"}, "key_scope is 'endd'; it must be 'started' or 'ended', or None. Did you mean 'ended'?"),
        ({"after_failure": "cancelled"}, "it must be 'cancel' or 'run'. Did you mean 'cancel'?"),
        ({"rate": "5/m", "concurrency_key": "a"}, "rate is '5/m'; it must be a RateLimit"),
        ({"backoff": Backoff}, "backoff is <class"),
        ({"on_conflict": "replace", "after": [UUID(int=1)]}, "on_conflict is 'replace' and after"),
        ({"backoff": -1}, "backoff is -1: its base is -1; it must be a number of seconds from 0"),
        ({"backoff": Backoff(jitter=2)}, "backoff is Backoff.*: its jitter is 2; it must be a number from 0 to 1"),
        ({"backoff": Backoff(base=float("nan"))}, "its base is nan; it must be a number of seconds from 0"),
        (
            {"backoff": "shop:patience"},
            "it must be a Backoff, seconds, a timedelta, or a function",
        ),
        ({"backoff": greet.function}, "has to be awaited"),
        ({"retry_on": ()}, r"retry_on is \(\); it takes at least one"),
        ({"retry_on": OSError}, "retry_on is <class 'OSError'>; it takes at least one exception class, in a tuple"),
        ({"on_loss": "ignore"}, "on_loss is 'ignore'"),
        ({"max_losses": -1}, "max_losses is -1"),
        ({"on_loss": "fail", "max_losses": 3}, "on_loss is 'fail' and max_losses is 3; give one of them"),
        ({"never_retry_on": ("OSError",)}, "never_retry_on names 'OSError'; it takes exception classes"),
        ({"retry_on": (OSError,), "never_retry_on": (OSError,)}, "both name builtins.OSError"),
        ({"concurrency_key": ""}, "concurrency_key is ''; it must be text of 1 to 255"),
        ({"concurrency_key": "k" * 300}, r"concurrency_key is 'kkk.*\(300 characters\)"),
        ({"concurrency_key": "k", "concurrency": 0}, "concurrency is 0; it must be a whole number from 1"),
        ({"concurrency_key": "k", "concurrency": -3}, "concurrency is -3"),
        ({"concurrency": 3}, "concurrency is 3, and there is no concurrency_key"),
        ({"rate": RateLimit(3)}, r"rate is RateLimit\(count=3.*no concurrency_key"),
        ({"queue": ""}, "queue is ''; it must be text of 1 to 255 characters"),
        ({"queue": "q" * 256}, r"\(256 characters\); it must be text of 1 to 255"),
        ({"queue": "a\0b"}, "without NUL and lone surrogates"),
        ({"key": "\ud800"}, r"key is '\\ud800'; .* without NUL and lone surrogates"),
        ({"concurrency_key": "\udfff"}, "concurrency_key is .* without NUL and lone surrogates"),
        ({"execution_profile": ""}, "execution_profile is ''; it must be text of 1 to 255"),
        ({"metadata": {"a": "\ud800"}}, "metadata is .* without NUL and lone surrogates"),
        ({"retries": "3"}, "retries is '3'; it must be a whole number from 0"),
        ({"metadata": {"lq.fairness_key": "a"}}, "names that begin with lq. are reserved"),
        ({"metadata": {"a": 5}}, "metadata is {'a': 5}; it must be a dict from text to text"),
        ({"backoff": Backoff(base="5")}, "its base is '5'; it must be a number"),  # pyright: ignore[reportArgumentType] -- the mistake is the example
        ({"key": 5, "key_from": 5}, "key is 5; it must be text of 1 to 255 characters.*, or None"),
        ({"key_scope": 7}, "key_scope is 7; it must be 'started' or 'ended', or None"),
        (
            {"expires_at": datetime.max.replace(tzinfo=UTC)},
            r"expires_at is 9999-.*; it must lie in the years 2 to 9998",
        ),
        ({"scheduled_at": datetime.min.replace(tzinfo=UTC)}, "scheduled_at is 0001-.*; it must lie in the years 2 to"),
        ({"scheduled_at": datetime(2026, 1, 1)}, "scheduled_at is .*; it must be a moment with a time zone"),  # noqa: DTZ001 -- the naive moment is the example
        ({"delay": 5, "expires_in": 5}, "delay is 5.0, and expires_in is 5.0: it would expire before it may start"),
        (
            {"scheduled_at": datetime(2026, 1, 2, tzinfo=UTC), "expires_at": datetime(2026, 1, 1, tzinfo=UTC)},
            "it would expire before it may start",
        ),
        (
            {"delay": 5, "scheduled_at": datetime(2026, 1, 1, tzinfo=UTC)},
            r"delay is 5.0 and scheduled_at is 2026-01-01 00:00:00\+00:00; give one of them",
        ),
        ({"expires_in": 5, "expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, "expires_in is 5.0 and expires_at is 2026"),
        ({"retrys": 1}, "Did you mean 'retries'"),
        ({"retry": 1}, "Did you mean 'retry_on' or 'retries'"),
    ],
)
def test_a_bad_option_is_refused_with_its_value(options: OptionArguments, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        greet.using(**options)


BERLIN = ZoneInfo("Europe/Berlin")


def in_berlin(hour: int, minute: int = 0, *, fold: int = 0) -> datetime:
    """Name a time of the night in which the clock is set back from 3 to 2."""
    return datetime(2026, 10, 25, hour, minute, tzinfo=BERLIN, fold=fold)


def test_moments_are_compared_as_moments_and_not_by_the_wall_clock() -> None:
    """Python compares two times of one time zone by the wall clock."""
    first, second = in_berlin(2, 45), in_berlin(2, 15, fold=1)
    assert greet.using(scheduled_at=first, expires_at=second).options.expires_at == datetime(
        2026, 10, 25, 1, 15, tzinfo=UTC
    )

    with pytest.raises(ConfigurationError, match="it would expire before it may start"):
        greet.using(scheduled_at=second, expires_at=first)


def test_options_with_the_same_moment_are_equal() -> None:
    moment = in_berlin(2, 30, fold=1)

    assert greet.using(scheduled_at=moment).options == greet.using(scheduled_at=moment.astimezone(UTC)).options
    assert greet.using(scheduled_at=moment).options != greet.using(scheduled_at=in_berlin(2, 30)).options


class NoOffset(tzinfo):
    """A time zone that does not say where it is."""

    @override
    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        return None


def test_a_moment_without_an_offset_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"expires_at is .*; it must be a moment with a time zone"):
        greet.using(expires_at=datetime(2026, 1, 1, tzinfo=NoOffset()))
    with pytest.raises(ConfigurationError, match=r"created_after is .*, which names no time zone"):
        RecordFilter(created_after=datetime(2026, 1, 1, tzinfo=NoOffset()))


def test_a_backoff_may_be_given_per_call() -> None:
    assert greet.using(backoff=Backoff(base=1, factor=1)).options.backoff == Backoff(base=1, factor=1)


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"name": 5}, "The name of a task is 5; it must be text"),
        ({"name": ""}, "The name of a task is ''; it must be text of 1 to 255"),
        ({"nmae": "tests.named"}, "Did you mean 'name'"),
    ],
)
def test_a_name_is_text_and_is_an_option_too(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        task(**options)


def test_a_context_that_could_not_be_given_is_refused() -> None:
    def remind(name: str, context: TaskContext) -> None:
        raise NotImplementedError

    with pytest.raises(TaskDefinitionError, match=r"'context' of task .* is a TaskContext, but not the first one"):
        task(remind)


def test_an_unknown_name_brings_the_closest_one() -> None:
    with pytest.raises(UnknownTaskError, match=r"Did you mean 'tests\.greet'\?"):
        find_task("tests.gret")


def test_two_functions_cannot_share_a_name() -> None:
    with pytest.raises(DuplicateTaskError, match=r"tests\.greet"):

        @task(name="tests.greet")
        def other() -> None:
            raise NotImplementedError


def test_a_generator_and_a_lambda_cannot_be_tasks() -> None:
    def many() -> object:
        yield 1

    with pytest.raises(TaskDefinitionError, match="async def"):
        task(many)
    with pytest.raises(TaskDefinitionError, match="lambda"):
        task(lambda: None)


def test_a_task_of_the_main_program_is_named_for_its_file(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text("from lq_core import task\n@task\ndef pack() -> None: ...\nprint(pack.name)\n")

    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)

    assert done.stdout == "shop.pack\n"


@pytest.mark.parametrize(
    "mistake, advice",
    [
        (lambda: "tests.greet", r"enqueue_by_name\('tests\.greet'"),
        (lambda: greet.call("ada"), r"enqueue_many\(\[call"),
        (lambda: greet("ada"), "Pass the task and its arguments separately"),
        (lambda: len, "Decorate the function with @task"),
    ],
)
async def test_only_a_task_can_be_enqueued_and_the_error_says_how(mistake: Callable[[], object], advice: str) -> None:
    queue = QueueService(QueueConfig(queue_backend="memory"))

    with pytest.raises(TaskDefinitionError, match=advice):
        await queue.enqueue(mistake())  # pyright: ignore[reportCallIssue, reportArgumentType] -- the mistake is the example


async def test_a_task_among_calls_is_refused() -> None:
    queue = QueueService(QueueConfig(queue_backend="memory"))

    with pytest.raises(TaskDefinitionError, match=r"task\.call"):
        await queue.enqueue_many([greet])  # pyright: ignore[reportArgumentType] -- the mistake is the example


def test_a_name_in_place_of_a_function_is_refused_with_the_way_to_say_it() -> None:
    with pytest.raises(TaskDefinitionError, match=r"@task\(name='mail'\)"):
        task("mail")  # pyright: ignore[reportCallIssue, reportArgumentType] -- the mistake is the example


class Shop:
    """What has methods."""

    async def greet(self, name: str) -> str:
        return name


@pytest.mark.parametrize("function, said", [(Shop.greet, "is a method"), (Shop, "cannot be a task")])
def test_what_no_worker_could_call_is_refused(function: Callable[..., object], said: str) -> None:
    with pytest.raises(TaskDefinitionError, match=said):
        task(function)


def test_a_task_shows_its_signature_as_it_was_written() -> None:
    @task(name="shown")
    async def shown(number: int | None = None) -> None:
        """Do nothing."""

    assert repr(shown) == "<Task shown(number: int | None = None) -> None>"
