"""One request changes many records: those that were selected, and no others."""

import httpx
import pytest

from lq_core import NonRetryable, TaskStatus, task
from lq_core.testing import QueueTestbed


@task(name="post.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="post.break", queue="mail")
async def break_down(reason: str) -> None:
    raise ValueError(reason) if reason == "value" else NonRetryable(reason)


async def act(browser: httpx.AsyncClient, **selection: object) -> int:
    """Count what a selection matches, change it, and return how many records were changed."""
    counted = (await browser.post("/queues/api/records/preview", json=selection)).json()
    answer = await browser.post("/queues/api/records/act", json={**selection, "as_of": counted["as_of"]})
    return answer.json()["changed"]


async def test_many_records_are_cancelled(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many(greet.call(str(number)) for number in range(3))

    assert await act(browser, action="cancel", tasks=["post.greet"]) == 3
    assert (await bed.service.statistics()).total(TaskStatus.CANCELLED) == 3


async def test_many_ended_records_are_deleted_and_those_that_wait_are_not(
    bed: QueueTestbed, browser: httpx.AsyncClient
) -> None:
    await bed.service.enqueue_many(greet.call(str(number)) for number in range(3))
    await bed.drain()
    await bed.service.enqueue(greet, "later")

    assert await act(browser, action="delete", tasks=["post.greet"]) == 3
    left = await bed.service.statistics()
    assert (left.total(TaskStatus.COMPLETED), left.total(TaskStatus.PENDING)) == (0, 1)


async def test_only_failures_with_the_selected_error_are_retried(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many([break_down.using(retries=0).call("value"), break_down.call("no ink")])
    await bed.drain()

    assert await act(browser, action="retry", tasks=["post.break"], error="KeyError") == 0
    assert await act(browser, action="retry", tasks=["post.break"], error="ValueError") == 1
    assert (await bed.service.statistics()).total(TaskStatus.FAILED) == 1


@pytest.mark.parametrize(
    "fields", [{}, {"task": "post.break", "error": "ValueError", "as_of": "yesterday"}], ids=["nothing", "no moment"]
)
async def test_a_form_that_names_no_failures_changes_nothing(
    bed: QueueTestbed, browser: httpx.AsyncClient, fields: dict[str, str]
) -> None:
    await bed.service.enqueue(break_down, "no ink")
    await bed.drain()

    answer = await browser.post("/queues/failures", data=fields)

    assert (answer.status_code, "Open the page again" in answer.text) == (400, True)
    assert (await bed.service.statistics()).total(TaskStatus.FAILED) == 1
