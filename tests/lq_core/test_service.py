"""What the service says to who asks for something that cannot be."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio

from lq_core import ConfigurationError, QueueConfig, QueueService, RecordFilter, Worker, task
from lq_core.contracts import a_record
from lq_core.tasks.options import OptionArguments

NEXT_YEAR = datetime(datetime.now(UTC).year + 1, 7, 1, tzinfo=UTC)
ID = "01a208d6-f3cf-7975-a1ad-42770b79d626"


@task(name="service.send", queue="letters")
async def send() -> None:
    """Do nothing."""


@pytest_asyncio.fixture
async def service() -> AsyncIterator[QueueService]:
    async with QueueService(QueueConfig(queue_backend="memory")) as service:
        yield service


@pytest.mark.parametrize("verb", ["get", "wait", "cancel", "retry"])
@pytest.mark.parametrize(
    "wrong, said",
    [
        (ID, f"the id of a record is a UUID: UUID\\('{ID}'\\)"),
        (a_record(), "the id of a record is a UUID: result.id or record.id"),
    ],
)
async def test_a_wrong_id_is_refused_with_its_value(service: QueueService, verb: str, wrong: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        await getattr(service, verb)(wrong)


@pytest.mark.parametrize(
    "queue, said",
    [
        ("", "it must be text of 1 to 255 characters"),
        ("q" * 256, "256 characters"),
        ("\ud800", "without NUL and lone surrogates"),
    ],
)
async def test_a_name_that_no_queue_can_have_is_refused(service: QueueService, queue: str, said: str) -> None:
    for change in (service.pause(queue), service.resume(queue), service.drain(queue), service.limit_queue(queue)):
        with pytest.raises(ConfigurationError, match=said):
            await change


@pytest.mark.parametrize(
    "options",
    [
        {"scheduled_at": NEXT_YEAR, "expires_in": 60},
        {"delay": 60, "expires_at": datetime.now(UTC) + timedelta(seconds=50)},
        {"delay": 60, "expires_at": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
)
async def test_a_call_that_would_expire_before_it_may_start_is_refused(
    service: QueueService, options: OptionArguments
) -> None:
    with pytest.raises(
        ConfigurationError, match=r"can start at 2.*, but expires at 2.*: it would expire before it can start"
    ):
        await service.enqueue(send.using(**options))


async def test_moments_are_kept_in_utc(service: QueueService) -> None:
    moment = NEXT_YEAR.astimezone(ZoneInfo("Europe/Berlin"))

    sent = await service.enqueue(send.using(scheduled_at=moment, expires_at=moment + timedelta(hours=1)))

    assert (sent.record.scheduled_at, sent.record.scheduled_at.tzinfo) == (NEXT_YEAR, UTC)
    assert (sent.record.expires_at or moment).tzinfo is UTC


async def test_pausing_returns_whether_anything_names_the_queue(service: QueueService) -> None:
    await service.queue_backend.insert([a_record(queue="mail")])

    assert await service.pause("letters")
    assert await service.pause("mail")
    assert not await service.pause("mial")
    assert not await service.pause("mial")


async def test_a_service_of_another_event_loop_says_so(service: QueueService) -> None:
    def elsewhere() -> None:
        asyncio.run(_enqueue(service))

    with pytest.raises(ConfigurationError, match="opened in another event loop"):
        await asyncio.to_thread(elsewhere)


async def _enqueue(service: QueueService) -> None:
    await service.enqueue(send)


async def test_who_enters_a_service_that_is_open_does_not_close_it(service: QueueService) -> None:
    async with service as same:
        await same.enqueue(send)

    assert (await service.enqueue(send)).created


@pytest.mark.parametrize("make", [QueueService, Worker])
def test_a_wrong_configuration_or_service_is_refused(make: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"'memory' is not a Queue(Config|Service)"):
        make("memory")


@pytest.mark.parametrize(
    "filters, said",
    [
        ({"queues": "mail"}, r"queues is 'mail'; it must be a tuple of names: \('mail',\)"),
        ({"task_names": "send"}, "task_names is 'send'"),
        ({"statuses": ("pendin",)}, r"statuses is \('pendin',\); it must be a tuple: \(TaskStatus"),
        ({"created_after": datetime(2026, 1, 1)}, "names no time zone"),  # noqa: DTZ001 -- the mistake is the example
    ],
)
def test_a_filter_that_backends_would_read_differently_is_refused(filters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        RecordFilter(**filters)
