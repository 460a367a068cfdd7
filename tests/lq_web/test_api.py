"""The HTTP API: what it answers, what it changes, and how it refuses."""

from collections.abc import AsyncGenerator

import httpx
import pytest

from lq_core import InvalidArgumentError, NonRetryable, TaskContext, TaskStatus, schedule, task
from lq_core.testing import QueueTestbed


@task(name="office.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


schedule(greet.call("everyone"), name="office nightly", cron="0 3 * * *")


@pytest.fixture
async def bed() -> AsyncGenerator[QueueTestbed]:
    async with QueueTestbed(schedules=["office nightly"]) as bed:
        yield bed


@task(name="office.break", queue="mail")
async def break_down(reason: str) -> None:
    raise NonRetryable(reason)


@task(name="office.approve")
async def approve(context: TaskContext) -> bool:
    return await context.wait_for("decision", bool)


async def test_an_empty_queue_is_well(browser: httpx.AsyncClient) -> None:
    seen = (await browser.get("/queues/api/overview")).json()

    assert (seen["healthy"], seen["headline"], seen["oldest_ready"]) == (True, "All is well", None)


async def test_failures_are_told_by_task_and_error(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many([break_down.call("no paper"), break_down.call("no ink")])
    await bed.drain()

    seen = (await browser.get("/queues/api/overview")).json()

    assert seen["headline"] == "2 records have failed in the last hour"
    [group] = seen["failures"]
    assert (group["task"], group["error"], group["count"]) == ("office.break", "NonRetryable", 2)


async def test_work_that_waits_without_a_worker_is_a_warning(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")
    bed.advance(300)

    seen = (await browser.get("/queues/api/overview")).json()

    assert not seen["healthy"]
    assert seen["oldest_ready"] == 300
    assert "Start a worker" in seen["advice"]


async def test_records_come_in_pages_newest_first(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = [await bed.service.enqueue(greet, str(number)) for number in range(5)]
    newest_first = [str(one.id) for one in reversed(sent)]

    first = (await browser.get("/queues/api/records", params={"limit": 3})).json()
    rest = (await browser.get("/queues/api/records", params={"limit": 3, "before": first["next"]})).json()

    assert [record["id"] for record in (*first["records"], *rest["records"])] == newest_first
    assert rest["next"] is None


@pytest.mark.parametrize(
    "params",
    [
        {"text": "no paper"},
        {"value": "arguments.reason=no paper"},
        {"value": ["arguments.reason=no paper", "metadata.tenant=acme"]},
        {"error": "NonRetryable", "text": "acme"},
        {"since": "2020-01-01T00:00:00", "until": "2120-01-01T00:00:00Z", "value": "metadata.tenant=acme"},
    ],
)
async def test_a_search_looks_into_the_records(
    bed: QueueTestbed, browser: httpx.AsyncClient, params: dict[str, list[str]]
) -> None:
    wanted = await bed.service.enqueue(break_down.using(metadata={"tenant": "acme"}), "no paper")
    await bed.service.enqueue(break_down, "no ink")
    await bed.drain()

    page = (await browser.get("/queues/api/records", params=params)).json()

    assert [record["id"] for record in page["records"]] == [str(wanted.id)]
    assert page["looked_at_newest"] is None


async def test_a_search_says_that_it_ended_before_the_oldest(
    bed: QueueTestbed, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lq_web.searching.SEARCHED", 2)
    await bed.service.enqueue(break_down, "no paper")
    newer = [await bed.service.enqueue(greet, name) for name in ("Ada", "Bo")]

    page = (await browser.get("/queues/api/records", params={"queue": "mail"})).json()

    assert [record["id"] for record in page["records"]] == [str(one.id) for one in reversed(newer)]
    assert page["looked_at_newest"] == 2
    waiting = (await browser.get("/queues/api/records", params={"status": "pending", "limit": 2})).json()
    assert (len(waiting["records"]), waiting["next"] is None) == (2, False)
    named = (await browser.get("/queues/api/records", params={"status": "pending", "task": break_down.name})).json()
    assert (named["records"], named["looked_at_newest"]) == ([], 2)
    assert "Only the newest 2 records" in (await browser.get("/queues/records", params={"text": "paper"})).text


@pytest.mark.parametrize(
    "params",
    [
        {"value": "tenant"},
        {"value": "tenant=acme"},
        {"since": "noon"},
        {"text": "\0"},
        {"value": ["arguments.a=1", "arguments.a=2"]},
    ],
)
async def test_a_search_that_cannot_be_meant_is_refused(browser: httpx.AsyncClient, params: dict[str, str]) -> None:
    answer = await browser.get("/queues/api/records", params=params)

    assert answer.status_code == 400
    assert next(iter(params)) in answer.text


async def test_filters_narrow_the_records(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")
    failed = await bed.service.enqueue(break_down, "no paper")
    await bed.drain()

    for params in ({"status": "failed"}, {"task": "office.break"}, {"queue": "mail", "status": "failed"}):
        found = (await browser.get("/queues/api/records", params=params)).json()["records"]
        assert [record["id"] for record in found] == [str(failed.id)]
    assert (await browser.get("/queues/api/records", params={"queue": "nothing"})).json()["records"] == []


async def test_a_record_shows_arguments_result_and_timeline(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(greet, "Ada")
    await bed.drain()

    record = (await browser.get(f"/queues/api/records/{sent.id}")).json()

    assert (record["arguments"], record["result"], record["status"]) == ({"name": "Ada"}, "Hello, Ada.", "completed")
    assert [event["event"] for event in record["timeline"]] == ["enqueued", "claimed", "completed"]


async def test_a_call_is_enqueued_by_name_and_refused_as_in_python(
    bed: QueueTestbed, browser: httpx.AsyncClient
) -> None:
    made = await browser.post("/queues/api/tasks/office.greet", json={"arguments": {"name": "Ada"}})
    wrong = await browser.post("/queues/api/tasks/office.greet", json={"arguments": {"name": 7}})
    unknown = await browser.post("/queues/api/tasks/office.great", json={"arguments": {}})

    assert (made.status_code, made.json()["status"]) == (201, "pending")
    assert await bed.drain() == {TaskStatus.COMPLETED: 1}
    assert (wrong.status_code, unknown.status_code) == (400, 404)
    assert wrong.headers["content-type"] == "application/problem+json"
    with pytest.raises(InvalidArgumentError) as refused:
        await bed.service.enqueue_by_name("office.greet", name=7)
    assert wrong.json()["detail"] == str(refused.value)
    assert "office.greet" in unknown.json()["detail"]


async def test_the_arguments_of_a_task_are_described_as_a_schema(browser: httpx.AsyncClient) -> None:
    tasks = {task["name"]: task for task in (await browser.get("/queues/api/tasks")).json()}

    described = tasks["office.greet"]["arguments"]["$defs"]["Arguments"]
    assert described["properties"] == {"name": {"type": "string"}}
    assert (described["required"], described["additionalProperties"]) == (["name"], False)


async def test_a_record_is_cancelled_and_retried(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(greet, "Ada")

    cancelled = await browser.post(f"/queues/api/records/{sent.id}/cancel")
    retried = await browser.post(f"/queues/api/records/{sent.id}/retry")
    again = await browser.post(f"/queues/api/records/{sent.id}/retry")
    unknown = await browser.post(f"/queues/api/records/{sent.id}/repeat")

    assert [cancelled.json()["status"], retried.json()["status"]] == ["cancelled", "pending"]
    assert again.status_code == 409
    assert (unknown.status_code, "use one of: retry, cancel" in unknown.json()["detail"]) == (400, True)


async def test_many_are_counted_first_and_only_those_are_changed(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many([break_down.call("no paper"), break_down.call("no ink")])
    await bed.drain()
    wanted = {"action": "retry", "tasks": ["office.break"], "error": "NonRetryable"}

    counted = (await browser.post("/queues/api/records/preview", json=wanted)).json()
    bed.advance(1)
    late = await bed.service.enqueue(break_down, "too late")
    await bed.drain()
    changed = (await browser.post("/queues/api/records/act", json={**wanted, "as_of": counted["as_of"]})).json()

    assert (counted["count"], changed["changed"]) == (2, 2)
    left = await bed.service.get(late.id)
    assert left is not None
    assert left.status is TaskStatus.FAILED


async def test_a_signal_is_sent_once_and_noted(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    sent = await bed.service.enqueue(approve)
    await bed.drain()
    record = f"/queues/api/records/{sent.id}"

    waiting = (await browser.get(record)).json()
    stored = await browser.post(f"{record}/signals", json={"name": "decision", "value": True})
    again = await browser.post(f"{record}/signals", json={"name": "decision"})
    unnamed = await browser.post(f"{record}/signals", json={"name": ""})
    misspelt = await browser.post(f"{record}/signals", json={"name": "other", "vale": True})
    nested = await browser.post(
        f"{record}/signals", content='{"name": "other", "value": ' + "[" * 5000 + "]" * 5000 + "}"
    )
    await bed.drain()
    ended = (await browser.get(record)).json()
    [action] = (await browser.get("/queues/api/actions")).json()

    assert (waiting["waits_for"], stored.status_code, stored.json()["waits_for"]) == ("decision", 200, None)
    assert (again.status_code, unnamed.status_code, misspelt.status_code, nested.status_code) == (409, 400, 400, 400)
    assert "vale" in misspelt.text
    assert "takes no signal 'decision'" in again.json()["detail"]
    assert (ended["status"], ended["result"]) == ("completed", True)
    assert (action["action"], action["subject"]) == ("signal record", str(sent.id))


async def test_a_queue_is_paused_limited_and_resumed(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")

    [paused] = (await browser.post("/queues/api/queues/mail/pause")).json()
    await browser.post("/queues/api/queues/mail/limits", json={"concurrency": 2})
    [resumed] = (await browser.post("/queues/api/queues/mail/resume")).json()
    wrong = await browser.post("/queues/api/queues/mail/stop")

    assert (paused["name"], paused["paused"], resumed["paused"]) == ("mail", True, False)
    assert resumed["limits"]["concurrency"] == 2
    assert wrong.status_code == 400


async def test_the_api_describes_itself(browser: httpx.AsyncClient) -> None:
    schema = (await browser.get("/api/schema/openapi.json")).json()

    assert schema["openapi"].startswith("3.1")
    assert "/queues/api/records" in schema["paths"]
    assert not any(path for path in schema["paths"] if "/api" not in path)


async def test_every_answer_and_every_body_has_an_example(browser: httpx.AsyncClient) -> None:
    schema = (await browser.get("/api/schema/openapi.json")).json()

    routes = [(path, route) for path, methods in schema["paths"].items() for route in methods.values()]
    answers = [route["responses"].get("200") or route["responses"]["201"] for _, route in routes]
    bodies = [schema["components"]["schemas"][name] for name in ("Call", "ManyRecords", "NewLimits")]

    assert len(routes) >= 17
    assert all("application/problem+json" in route["responses"]["400"]["content"] for _, route in routes)
    assert all(answer["content"]["application/json"]["examples"] for answer in answers)
    assert all(body["examples"] for body in bodies)


async def test_a_schedule_is_paused_resumed_and_run(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    [paused] = (await browser.post("/queues/api/schedules/office nightly/pause")).json()
    [resumed] = (await browser.post("/queues/api/schedules/office nightly/resume")).json()
    await browser.post("/queues/api/schedules/office nightly/run")
    unknown = await browser.post("/queues/api/schedules/office hourly/run")

    assert (paused["paused"], paused["next"], resumed["paused"], len(resumed["next"])) == (True, [], False, 3)
    assert await bed.drain() == {TaskStatus.COMPLETED: 1}
    assert unknown.status_code == 404


async def test_queues_schedules_and_findings_are_listed(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue(greet, "Ada")
    bed.advance(300)

    queues, schedules, findings = [
        (await browser.get(f"/queues/api/{name}")).json() for name in ("queues", "schedules", "findings")
    ]

    assert [(each["name"], each["paused"]) for each in queues] == [("mail", False)]
    assert [each["name"] for each in schedules] == ["office nightly"]
    assert "warning" in {each["level"] for each in findings}


async def test_the_history_shows_each_minute(bed: QueueTestbed, browser: httpx.AsyncClient) -> None:
    await bed.service.enqueue_many([greet.call("Ada"), greet.call("Bo"), break_down.call("no ink")])
    await bed.drain()

    hour = (await browser.get("/queues/api/history")).json()
    days = (await browser.get("/queues/api/history", params={"minutes": 2880, "queue": "mail"})).json()
    other = (await browser.get("/queues/api/history", params={"queue": "film"})).json()

    assert (hour["step"], len(hour["points"]), days["step"], len(days["points"])) == (1, 60, 48, 60)
    assert [(point["completed"], point["failed"]) for point in (hour["points"][-1], days["points"][-1])] == [(2, 1)] * 2
    assert hour["points"][-1]["run_p95"] is not None
    assert {point["completed"] for point in other["points"]} == {0}
    assert (await browser.get("/queues/api/history", params={"minutes": 0})).status_code == 400
