"""Keys made of chosen arguments: alike for calls that say the same, apart for all others."""

from uuid import UUID

import pytest

from lq_core import ConfigurationError, InvalidArgumentError, QueueConfig, QueueService, TaskContext, task
from lq_core.foundation.validation import NAME_LIMIT
from lq_core.tasks.options import OptionArguments

ADA = UUID("01a208d6-f3cf-7975-a1ad-42770b79d626")


@task(name="keys.greet", key_from=("user", "language"))
async def greet(user: UUID, *, language: str = "en", tags: dict[str, int] | None = None) -> str:
    return f"{language} {user} {tags}"


@task(name="keys.greet_too", key_from=("user", "language"))
async def greet_too(user: UUID, *, language: str = "en") -> str:
    return f"{language} {user}"


def test_a_key_is_made_of_the_task_and_the_chosen_arguments() -> None:
    assert greet.call(ADA, tags={"a": 1}).key == f'keys.greet:{{"language":"en","user":"{ADA}"}}'


def test_what_is_not_chosen_and_what_is_the_default_makes_no_other_key() -> None:
    calls = [greet.call(ADA), greet.call(user=ADA, language="en"), greet.call(ADA, tags={"a": 1})]

    assert len({call.key for call in calls}) == 1


def test_another_argument_or_another_task_makes_another_key() -> None:
    others = {greet.call(UUID(int=1)).key, greet.call(ADA, language="de").key, greet_too.call(ADA).key}

    assert len({greet.call(ADA).key, *others}) == 4


def test_the_order_in_a_dictionary_makes_no_other_key() -> None:
    tagged = greet.using(key_from=("tags",))

    assert tagged.call(ADA, tags={"a": 1, "b": 2}).key == tagged.call(ADA, tags={"b": 2, "a": 1}).key


def test_a_long_key_is_hashed() -> None:
    long = [greet.call(ADA, language="x" * 1000).key, greet.call(ADA, language="x" * 1001).key]

    assert long[0] != long[1]
    assert [len(key or "") <= NAME_LIMIT for key in long] == [True, True]


def test_the_context_and_lists_of_arguments_make_no_key() -> None:
    def count(context: TaskContext, *numbers: int) -> int:
        return context.attempt + sum(numbers)

    with pytest.raises(ConfigurationError, match="key_from names 'context'"):
        task(name="keys.count", key_from=("context",))(count)
    with pytest.raises(ConfigurationError, match=r"key_from names 'numbers'.*There are: none"):
        task(name="keys.count", key_from=("numbers",))(count)


def test_a_wrong_argument_is_refused_before_a_key_is_made_of_it() -> None:
    with pytest.raises(InvalidArgumentError, match="user"):
        greet.call("nobody")  # pyright: ignore[reportArgumentType] -- the mistake is the example


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"on_conflict": "reject"}, "on_conflict is reject, and the call has no key"),
        ({"key_scope": "started"}, "key_scope is started, and the call has no key"),
        ({"key_window": 5}, r"key_window is 5(\.0)?, and the call has no key"),
    ],
)
async def test_what_is_said_about_a_key_needs_one(options: OptionArguments, problem: str) -> None:
    queue = QueueService(QueueConfig(queue_backend="memory"))

    with pytest.raises(ConfigurationError, match=problem):
        await queue.enqueue(greet.using(key_from=None).using(**options), ADA)
