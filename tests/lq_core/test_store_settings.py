"""The settings of several stores, and what is wrong with some of them."""

from pathlib import Path

import pytest

from lq_core import (
    ConfigurationError,
    QueueConfig,
    QueueService,
    RoutedQueueService,
    StoreWorkers,
    Worker,
    service_of,
    task,
    worker_of,
)
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.testing import QueueTestbed

SEVERAL = QueueConfig(queue_backend="memory", stores={"bulk": "memory"}, routes={"mail": "bulk"})


@task(name="store_settings.mail", queue="mail")
async def mail(number: int) -> int:
    return number


async def test_what_suits_the_configuration_is_made() -> None:
    one = service_of(SEVERAL.of_store("bulk"))

    assert isinstance(service_of(SEVERAL), RoutedQueueService)
    assert type(one) is type(service_of(QueueConfig(queue_backend="memory"))) is QueueService
    assert isinstance(worker_of(service_of(SEVERAL)), StoreWorkers)
    assert type(worker_of(one)) is Worker
    assert one.config.of_store("bulk") is one.config
    assert type(service_of(SEVERAL.of_store("main"))) is QueueService
    with pytest.raises(ConfigurationError, match="of the store 'bulk' alone"):
        one.config.of_store("main")
    with pytest.raises(ConfigurationError, match=r"of the store 'bulk'.*of all stores"):
        RoutedQueueService(one.config)


async def test_a_testbed_keeps_all_queues_in_one_store() -> None:
    async with QueueTestbed(SEVERAL) as bed, RoutedQueueService(bed.config) as service:
        mailed = await service.enqueue(mail, 4)
        await bed.drain()

        assert await mailed.wait(timeout=1) == 4


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"routes": {"mail": "bulk"}}, "routes sends the queue 'mail' to the store 'bulk'. There is no store 'bulk'"),
        ({"stores": {"main": "memory"}}, "'main' is the queue_backend"),
        ({"stores": {"bulk": 5}}, "stores is {'bulk': 5}; it must be a dict from names to queue backends"),
        ({"stores": {"": "memory"}}, "stores is"),
        ({"stores": "memory"}, "stores is 'memory'"),
        ({"routes": ["mail"]}, "routes is"),
        ({"store": "bulk"}, "There is no store 'bulk'"),
        ({"store": "bulk", "stores": {"bulk": "memory"}}, r"queue_backend is not the one.*config.of_store\('bulk'\)"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        QueueConfig(**settings)  # pyright: ignore[reportArgumentType] -- wrong on purpose


@pytest.mark.parametrize("other", ["lq.db", "folder/../lq.db", "link.db"])
async def test_two_stores_at_one_place_are_refused(tmp_path: Path, other: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "lq.db")
    one, same = SQLiteConfig(path=tmp_path / "lq.db"), SQLiteConfig(path=tmp_path / other)

    with pytest.raises(ConfigurationError, match=r"The stores 'main' and 'bulk' are both at .*lq\.db"):
        await RoutedQueueService(QueueConfig(queue_backend=one, stores={"bulk": same})).open()


async def test_what_serves_one_store_refuses_the_service_of_several(tmp_path: Path) -> None:
    async with QueueService(SEVERAL) as service:
        with pytest.raises(ConfigurationError, match=r"RoutedQueueService\(config\), and run StoreWorkers\(service\)"):
            await Worker(service).run()
    with pytest.raises(TypeError, match="is not a RoutedQueueService"):
        StoreWorkers(QueueService(SEVERAL))  # pyright: ignore[reportArgumentType] -- wrong on purpose
