"""The records of calls that are enqueued together are those that each call would have alone."""

import pytest
from msgspec.structs import replace

from lq_core import PayloadTooLargeError, QueueConfig, task
from lq_core.clock import utc_now
from lq_core.service.calls import new_record, new_records
from lq_core.service.executions import Executions
from lq_core.task import TaskCall


@task(name="calls.send", retries=2)
async def send(number: int, text: str = "") -> None:
    """Do nothing."""


@task(name="calls.copy")
async def copy(number: int) -> None:
    """Do nothing."""


def test_calls_together_make_the_records_that_each_makes_alone() -> None:
    tasks = [
        send,
        send.using(delay=5),
        send.using(key="one"),
        send.using(key_from=("number",)),
        send.using(key="one", key_window=60),
        send.using(metadata={"trace": "1"}),
        send.using(expires_in=9),
        send.using(priority=3, queue="mail"),
        copy,
    ]
    calls = [each.call(number) for each in tasks for number in range(3)] + [each.call(1) for each in tasks]
    asked, beside = send.call(1), send.call(2)
    calls += [asked, beside, send.using(after=[asked.id]).call(3)]
    calls.append(TaskCall(copy.name, "{}", beside.options, copy.codec))
    calls.append(TaskCall(send.name, "{}", beside.options, send.codec))
    config, at = QueueConfig(), utc_now()
    executions = Executions(config)

    together = new_records(calls, config, executions, at=at)

    alone = [new_record(call, config, executions, at=at) for call in calls]
    assert [replace(one, id=other.id) for one, other in zip(alone, together, strict=True)] == together
    assert len({record.id for record in together}) == len(calls)
    assert together[calls.index(asked)].id == asked.id


def test_a_call_that_is_too_large_is_refused_beside_others() -> None:
    config = QueueConfig(max_payload_bytes=100)
    calls = [send.call(1), send.call(2, "long" * 100)]

    with pytest.raises(PayloadTooLargeError, match=r"calls\.send"):
        _ = new_records(calls, config, Executions(config), at=utc_now())
