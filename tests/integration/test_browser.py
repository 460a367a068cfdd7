"""The dashboard in a real browser, on real stores: every page and action, hostile records, and people who need help."""

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast
from urllib.error import URLError
from urllib.request import urlopen
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from servers import CHROMIUM, PostgresServer
from servers.eventually import wait_until
from servers.postgres import free_port

OFFICE = '''
"""An application whose worker has just run some records."""

import asyncio
import math
import sys
from datetime import timedelta

import uvicorn

from lq_core.queue import Rollup
from lq_core.queue.rollups import BUCKETS
from lq_core import NonRetryable, QueueConfig, QueueService, TaskContext, Worker, schedule, task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from lq_web import WebConfig, create_app

HOSTILE = '"><script>document.title = "taken over"</script><img src=x onerror="document.title=1">'


@task(name="office.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="office.break", queue="print")
async def break_down(reason: str) -> None:
    raise NonRetryable(reason)


@task(name="office.wait", queue="import")
async def wait(context: TaskContext) -> None:
    await context.progress(2, total=5, message="files")
    await asyncio.Event().wait()


schedule(greet.call("everyone"), name="nightly", cron="0 3 * * *")


@task(name="shop.send_receipt", queue="mail")
async def send_receipt(order: int) -> None:
    if order % 20 == 0:
        raise ConnectionRefusedError("smtp.example.com:587 refused the connection")


async def an_hour_of_work(queue: QueueService) -> None:
    """What the picture of the documentation shows: real records, and before them an hour that nobody waited for."""
    now = queue.queue_backend.now().replace(second=0, microsecond=0)
    buckets = [0] * 7 + [9, 3, 1] + [0] * (BUCKETS - 10)
    for minute in range(1, 60):
        completed = int(220 + 90 * math.sin(minute / 9) + 25 * math.sin(minute * 2.1))
        counts = (0, completed, 0, 0)
        past = Rollup(minute=now - timedelta(minutes=minute), counts=counts, waits=tuple(buckets), runs=tuple(buckets))
        await queue.queue_backend.add_rollups([past], oldest=past.minute)
    sent = await queue.enqueue_many(send_receipt.call(order) for order in range(1, 241))
    async for _ in queue.events(of=sent):
        pass
    await queue.enqueue_many(send_receipt.using(delay=3600, queue="reports").call(order) for order in range(18))
    await queue.note_action("resume queue", "mail", actor="grace")


async def main() -> None:
    kind, place, port = sys.argv[1:]
    store = PostgresConfig(dsn=place) if kind == "postgres" else SQLiteConfig(path=place)
    async with QueueService(QueueConfig(queue_backend=store, shutdown_grace=1)) as queue, Worker(queue):
        if kind == "picture":
            await an_hour_of_work(queue)
            await serve(queue, port)
            return
        await queue.enqueue(greet, "Ada")
        await queue.enqueue(greet.using(queue="letters"), HOSTILE)
        for sent in await queue.enqueue_many([break_down.call(HOSTILE), break_down.call("The printer has no paper.")]):
            async for _ in queue.events(of=[sent]):
                pass
        await queue.enqueue(wait)
        await queue.pause("later")
        await queue.enqueue_many(greet.using(queue="later").call(str(number)) for number in range(60))
        await serve(queue, port)


async def serve(queue: QueueService, port: str) -> None:
    app = create_app(queue, WebConfig(open_to_everyone=True, title="Office"))
    await uvicorn.Server(uvicorn.Config(app, port=int(port), log_level="warning")).serve()


asyncio.run(main())
'''
PICTURE = Path(__file__).parents[2] / "docs/images/dashboard.png"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
PATHS = ("", "records", "records?status=failed", "queues", "schedules", "workers", "history")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = CHROMIUM.find()
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *QUIET])
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def office(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard with some records."""
    folder = tmp_path_factory.mktemp("office")
    place = str(folder / "office.db")
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        place = server.create_database(f"office_{uuid4().hex}")
    with serve(folder, str(request.param), place) as address:
        yield address


@contextmanager
def serve(folder: Path, kind: str, place: str) -> Generator[str]:
    """Serve the office until the end; the server must then end by itself, whoever looks at it."""
    program, log, port = folder / "office.py", folder / "log", free_port()
    program.write_text(OFFICE)
    address = f"http://127.0.0.1:{port}/queues"
    command = [sys.executable, str(program), kind, place, str(port)]
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_until(lambda: process.poll() is not None or answers(address), within=60, otherwise=log.read_text)
            assert process.poll() is None, log.read_text()
            yield address
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()


def answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/api/workers") as answer:
            return answer.status == 200
    except URLError:
        return False


@contextmanager
def page_of(
    browser: Browser, *, scheme: Literal["light", "dark"] = "light", width: int = 1200, scripts: bool = True
) -> Generator[Page]:
    """Open a page that fails the test if it prints an error, or asks another site for anything."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, java_script_enabled=scripts
    )
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if "//127.0.0.1:" in request.url else wrong.append(request.url))
    yield page
    context.close()
    assert wrong == []


def obstacles(page: Page) -> list[tuple[str, str]]:
    """Find what keeps people from using a page: the rule of axe, and the first element that breaks it."""
    found = cast("Any", Axe()).run(page).response["violations"]
    return [(violation["id"], violation["nodes"][0]["html"]) for violation in found]


@pytest.mark.parametrize("scheme, width", [("light", 1200), ("dark", 390)])
def test_everyone_can_use_every_page(
    browser: Browser, office: str, scheme: Literal["light", "dark"], width: int
) -> None:
    with page_of(browser, scheme=scheme, width=width) as page:
        for path in PATHS:
            page.goto(f"{office}/{path}")
            assert obstacles(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.title().endswith(" · Office")


def test_a_failure_is_found_understood_and_retried(browser: Browser, office: str) -> None:
    with page_of(browser) as page:
        page.goto(f"{office}/")
        expect(page.get_by_role("heading", level=1)).to_contain_text("failed in the last hour")
        page.get_by_role("link", name="Show the newest NonRetryable of office.break").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("office.break failed")
        page.get_by_text("Traceback", exact=True).click()
        expect(page.get_by_role("region", name="Traceback")).to_contain_text("raise NonRetryable(reason)")
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("link", name="Retry all").click()
        page.get_by_role("button", name="Retry 2 records").click()
        expect(page.get_by_role("table")).to_contain_text("office.break")


@pytest.mark.parametrize("scripts", [True, False])
def test_queues_and_records_are_changed_with_scripts_and_without(
    browser: Browser, office: str, *, scripts: bool
) -> None:
    with page_of(browser, scripts=scripts) as page:
        page.goto(f"{office}/queues")
        page.get_by_role("button", name="Pause mail").click()
        page.get_by_role("button", name="Resume mail").click()
        expect(page.get_by_role("button", name="Pause mail")).to_be_visible()
        page.get_by_role("link", name="later").click()
        page.get_by_role("link", name="office.greet").first.click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("office.greet cancelled")
        page.get_by_role("button", name="Retry").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("office.greet pending")


def test_a_record_is_found_by_what_is_in_it(browser: Browser, office: str) -> None:
    with page_of(browser, scripts=False) as page:
        page.goto(f"{office}/records")
        page.get_by_label("Value").fill("arguments.reason=The printer has no paper.")
        page.get_by_label("Text").fill("printer")
        page.get_by_role("button", name="Filter").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.get_by_label("Text")).to_have_value("printer")


def test_the_history_shows_what_has_ended(browser: Browser, office: str) -> None:
    with page_of(browser, scripts=False) as page:
        page.goto(f"{office}/history")
        page.get_by_label("Queue").select_option("mail")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("img", name="1 completed, 0 failed")).to_be_visible()


def test_a_schedule_runs_now(browser: Browser, office: str) -> None:
    with page_of(browser) as page:
        page.goto(f"{office}/schedules")
        page.get_by_role("button", name="Pause nightly").click()
        page.get_by_role("button", name="Resume nightly").click()
        page.get_by_role("button", name="Run now nightly").click()
        expect(page.get_by_role("link", name="office.greet").first).to_be_visible()


def test_records_are_filtered_and_paged_by_an_address_that_can_be_shared(browser: Browser, office: str) -> None:
    with page_of(browser) as page:
        page.goto(f"{office}/records")
        page.get_by_label("Queue").fill("later")
        page.get_by_label("Status").select_option("pending")
        page.get_by_role("button", name="Filter").click()
        expect(page.get_by_role("row")).to_have_count(51)
        page.get_by_role("link", name="Older").click()
        expect(page.get_by_role("row")).to_have_count(11)
        assert "queue=later" in page.url
        assert "status=pending" in page.url


def test_a_page_keeps_itself_up_to_date(browser: Browser, office: str) -> None:
    with page_of(browser) as watching, page_of(browser) as working:
        watching.goto(f"{office}/queues")
        working.goto(f"{office}/queues")
        working.get_by_role("button", name="Pause import").click()
        expect(watching.get_by_role("button", name="Resume import")).to_be_visible(timeout=20_000)
        working.get_by_role("button", name="Resume import").click()


def test_what_a_record_contains_is_never_run(browser: Browser, office: str) -> None:
    with page_of(browser) as page:
        for path in ("", "records", "records?task=office.break"):
            page.goto(f"{office}/{path}")
            assert page.title().endswith(" · Office")
        page.goto(f"{office}/records?queue=letters&status=completed")
        page.get_by_role("link", name="office.greet").first.click()
        expect(page.get_by_role("region", name="Arguments")).to_contain_text("<script>")
        assert page.title() == "office.greet · Office"


def test_the_keyboard_reaches_the_content_first(browser: Browser, office: str) -> None:
    with page_of(browser) as page:
        page.goto(f"{office}/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_role("main")).to_be_focused()


def test_the_documentation_shows_this_page(browser: Browser, tmp_path: Path) -> None:
    """``LQ_TAKE_PICTURES=1`` takes the picture again."""
    with serve(tmp_path, "picture", str(tmp_path / "office.db")) as office, page_of(browser, width=1100) as page:
        page.goto(f"{office}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("12 records have failed in the last hour")
        if os.environ.get("LQ_TAKE_PICTURES"):
            page.screenshot(path=PICTURE)
        shown = set(page.get_by_role("heading").all_inner_texts())

    assert {"Failures of the last hour", "Queues", "Checks"} <= shown
    width, height = struct.unpack(">II", PICTURE.read_bytes()[16:24])
    assert (width, height) == (1100, 900)


def test_a_server_ends_while_browsers_look_at_it(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path, "sqlite", str(tmp_path / "office.db")) as address, page_of(browser) as page:
        page.goto(f"{address}/")
        expect(page.get_by_role("main")).to_be_visible()
