"""The pages, as a browser without JavaScript gets them, alone and below the paths of other applications."""

import re

import httpx
import pytest
from litestar import Litestar, asgi
from litestar.types import Receive, Scope, Send

from lq_core import NonRetryable, TaskContext, TaskStatus, task
from lq_core.testing import QueueTestbed
from lq_web import WebConfig, create_app
from lq_web.neighbours import SEARCHED


@task(name="shop.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="shop.break", queue="mail")
async def break_down(reason: str) -> None:
    raise NonRetryable(reason)


@task(name="shop.approve")
async def approve(context: TaskContext) -> str:
    return f"decided: {await context.wait_for('decision', str)}"


async def test_the_first_page_says_what_is_wrong(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(break_down, "no paper")
    await bed.drain()

    page = (await browser.get("/queues/")).text

    assert "<h1>1 record has failed in the last hour</h1>" in page
    assert "no paper" in page


async def test_a_group_of_failures_is_retried_after_counting(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many([break_down.call("no paper"), break_down.call("no ink")])
    await bed.drain()

    asked = (await browser.get("/queues/failures", params={"task": "shop.break", "error": "NonRetryable"})).text
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked))
    done = await browser.post("/queues/failures", data=fields)

    assert "Retry 2 records?" in asked
    assert done.status_code == 303
    assert (await bed.service.statistics()).total(TaskStatus.PENDING) == 2


async def test_the_buttons_of_a_record_work(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(greet, "Ada")

    for action, status in (("cancel", "cancelled"), ("retry", "pending")):
        page = (await browser.get(f"/queues/records/{sent.id}")).text
        [target] = re.findall(r'<form method="post" action="([^"]*)"', page)
        assert target.endswith(action)
        answer = await browser.post(target, follow_redirects=True)
        assert f'<span class="badge {status}">' in answer.text


async def test_a_person_sends_the_signal_that_a_record_waits_for(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(approve)
    await bed.drain()

    page = (await browser.get(f"/queues/records/{sent.id}")).text
    [target] = re.findall(r'action="([^"]*/signals)"', page)
    [name] = re.findall(r'name="name" value="([^"]*)"', page)
    wrong = await browser.post(target, data={"name": name, "value": "yes"})
    nested = await browser.post(target, data={"name": name, "value": "[" * 5000})
    stored = await browser.post(target, data={"name": name, "value": '"yes"'}, follow_redirects=True)
    again = await browser.post(target, data={"name": name, "value": '"no"'})
    await bed.drain()

    assert "Waits for the signal <b>decision</b>." in page
    assert (wrong.status_code, "Text needs quotes" in wrong.text) == (400, True)
    assert nested.status_code == 400
    assert (stored.status_code, "Waits for the signal" in stored.text) == (200, False)
    assert (again.status_code, "takes no signal" in again.text) == (409, True)
    assert "decided: yes" in (await browser.get(f"/queues/records/{sent.id}")).text


async def test_a_queue_is_paused_and_resumed(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")

    assert "paused" in (await browser.post("/queues/queues/mail/pause", follow_redirects=True)).text
    assert "paused" not in (await browser.post("/queues/queues/mail/resume", follow_redirects=True)).text


async def test_a_queue_is_limited_and_a_wrong_limit_is_refused(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")

    limited = await browser.post("/queues/queues/mail/limits", data={"concurrency": "3"}, follow_redirects=True)
    wrong = await browser.post("/queues/queues/mail/limits", data={"concurrency": "many"})
    await browser.post("/queues/queues/mail/limits", data={"concurrency": ""})

    assert "3 at once" in limited.text
    assert (wrong.status_code, "is not a number of records" in wrong.text) == (400, True)
    assert (await bed.service.queues())["mail"].limits is None


@pytest.mark.parametrize(
    "path, status", [("records/0198c0de-0000-7000-8000-000000000000", 404), ("records?status=lost", 400)]
)
async def test_what_cannot_be_shown_is_a_page_that_says_why(browser: httpx.AsyncClient, path: str, status: int) -> None:
    page = await browser.get(f"/queues/{path}")

    assert page.status_code == status
    assert page.headers["content-type"].startswith("text/html")
    assert "<h1>" in page.text


async def test_links_hold_below_another_application(bed: QueueTestbed) -> None:
    inner = create_app(bed.service, WebConfig(open_to_everyone=True))

    @asgi("/office", is_mount=True, copy_scope=True)
    async def mounted(scope: Scope, receive: Receive, send: Send) -> None:
        scope["root_path"] = "/office"
        await inner(scope, receive, send)

    transport = httpx.ASGITransport(Litestar([mounted]))  # pyright: ignore[reportArgumentType] -- the two describe ASGI in different words
    async with httpx.AsyncClient(
        transport=transport, base_url="http://queues.test", headers={"accept": "text/html"}
    ) as client:
        page = await client.get("/office/queues/")
        links = set(re.findall(r'(?:href|src)="(/[^"]*)"', page.text))
        answers = {link: (await client.get(link)).status_code for link in links}

    assert links
    assert all(link.startswith("/office/queues/") for link in links)
    assert set(answers.values()) == {200}, answers


async def test_the_page_of_a_record_shows_what_comes_before_and_after(
    bed: QueueTestbed, browser: httpx.AsyncClient
) -> None:
    first, other = greet.call("Ada"), greet.call("Bo")
    middle = greet.using(after=[first, other]).call("both")
    sent = await bed.service.enqueue_many([first, other, middle, greet.using(after=[middle]).call("<b>end</b>")])

    page = (await browser.get(f"/queues/records/{sent[2].id}")).text
    seen = (await browser.get(f"/queues/api/records/{sent[2].id}/neighbours")).json()
    of_first = (await browser.get(f"/queues/api/records/{sent[0].id}/neighbours")).json()
    alone = (await browser.get(f"/queues/records/{(await bed.service.enqueue(greet, 'Cy')).id}")).text

    assert 'aria-label="2 before, 1 after"' in page
    assert [f'href="/queues/records/{one.id}"' in page.partition("<svg")[2] for one in sent] == [
        True,
        True,
        False,
        True,
    ]
    assert [one["id"] for one in seen["predecessors"] + seen["successors"]] == [str(sent[n].id) for n in (0, 1, 3)]
    assert [one["id"] for one in of_first["successors"]] == [str(sent[2].id)]
    assert "<svg" not in alone


async def test_the_page_of_a_record_shows_what_waits_for_it_behind_many_other_records(
    bed: QueueTestbed, browser: httpx.AsyncClient
) -> None:
    first = await bed.service.enqueue(greet.using(delay=60), "Ada")
    await bed.service.enqueue_many(greet.using(delay=60).call(str(number)) for number in range(SEARCHED + 1))
    last = await bed.service.enqueue(greet.using(after=[first]), "Bo")

    seen = (await browser.get(f"/queues/api/records/{first.id}/neighbours")).json()

    assert [one["id"] for one in seen["successors"]] == [str(last.id)]


async def test_a_long_value_is_cut_and_says_so(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(greet, "x" * 30_000)

    page = (await browser.get(f"/queues/records/{sent.id}")).text

    assert "more characters; the API returns all of it" in page
    assert "x" * 20_000 not in page
