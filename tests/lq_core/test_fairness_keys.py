"""Fairness keys: given, or made of chosen arguments, and kept in the metadata of a record."""

import pytest

from lq_core import ConfigurationError, QueueConfig, QueueService, TaskContext, task
from lq_core.foundation.validation import NAME_LIMIT
from lq_core.tasks.options import OptionArguments


@task(name="fairness_keys.export", fairness_key_from=("tenant",))
async def export(tenant: str, number: int = 0) -> str:
    return f"{tenant} {number}"


@task(name="fairness_keys.clean", fairness_key_from=("tenant",))
async def clean(context: TaskContext, tenant: str) -> str | None:
    return context.record.fairness_key


async def test_a_call_keeps_its_fairness_key_beside_its_metadata() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        sent = await queue.enqueue(export.using(metadata={"a": "b"}), "acme")

        assert sent.record.metadata == {"lq.fairness_key": '{"tenant":"acme"}', "a": "b"}
        assert sent.record.fairness_key == '{"tenant":"acme"}'


async def test_calls_of_one_batch_have_their_own_fairness_keys() -> None:
    async with QueueService(QueueConfig(queue_backend="memory")) as queue:
        sent = await queue.enqueue_many([export.call("acme"), export.call("zeta", 1), export.call("acme", 2)])

        assert [one.record.fairness_key for one in sent] == [
            export.call(one).fairness_key for one in ("acme", "zeta", "acme")
        ]


def test_tasks_with_the_same_arguments_share_a_fairness_key() -> None:
    assert clean.call("acme").fairness_key == export.call("acme", 7).fairness_key


def test_a_given_fairness_key_is_taken_as_it_is() -> None:
    given = export.using(fairness_key="tenant:7", fairness_key_from=None)

    assert given.call("acme").fairness_key == "tenant:7"


def test_a_fairness_key_that_is_too_long_is_hashed() -> None:
    key = export.call("x" * NAME_LIMIT).fairness_key

    assert key is not None
    assert len(key) == 64


@pytest.mark.parametrize(
    "options, problem",
    [
        ({"fairness_key": "a"}, r"fairness_key is 'a' and fairness_key_from is \('tenant',\); give one of them"),
        ({"fairness_key": ""}, "fairness_key is ''; it must be text of 1 to 255 characters"),
        ({"fairness_key_from": ("tenants",)}, "fairness_key_from names 'tenants'.* Did you mean 'tenant'"),
        ({"fairness_key_from": ()}, r"fairness_key_from is \(\)"),
    ],
)
def test_a_wrong_option_is_refused(options: OptionArguments, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        export.using(**options)
