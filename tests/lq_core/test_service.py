"""What the service says to who asks for something that cannot be."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lq_core import QueueConfig, QueueService, task
from lq_core.testing import a_record

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
    "wrong, said", [(ID, f"which is a UUID: UUID\\('{ID}'\\)"), (a_record(), "which is a UUID: result.id or record.id")]
)
async def test_what_is_no_id_is_told(service: QueueService, verb: str, wrong: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        await getattr(service, verb)(wrong)


async def test_pausing_tells_whether_anything_names_the_queue(service: QueueService) -> None:
    await service.queue_backend.insert([a_record(queue="mail")])

    assert await service.pause("letters")
    assert await service.pause("mail")
    assert not await service.pause("mial")
    assert not await service.pause("mial")
