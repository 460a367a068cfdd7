"""The emulator serves worker pools: Google's own client changes how many processes run."""

import sys
from collections.abc import Sequence
from typing import Any, Final

import pytest
from google.api_core.exceptions import Aborted, InvalidArgument, NotFound
from google.cloud.run_v2 import types as run
from google.protobuf.field_mask_pb2 import FieldMask

from lq_cloudrun.emulator import EmulatedPool, Emulator, connected

SLEEPER: Final = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
COUNT: Final = FieldMask(paths=["scaling.manual_instance_count"])


def pool(*, command: Sequence[str] = SLEEPER, instances: int = 0) -> EmulatedPool:
    return EmulatedPool(name="workers", command=command, instances=instances)


def scaled(emulator: Emulator, count: int, **changes: Any) -> run.UpdateWorkerPoolRequest:
    """Make the request that changes the number of instances."""
    scaling = run.WorkerPoolScaling(manual_instance_count=count)
    changed = run.WorkerPool(name=emulator.pool_name("workers"), scaling=scaling, **changes)
    return run.UpdateWorkerPoolRequest(worker_pool=changed, update_mask=COUNT)


async def test_as_many_processes_run_as_the_count_says() -> None:
    async with Emulator([], pools=[pool()]) as emulator, connected(emulator.address) as clients:
        before = emulator.pool_instances("workers")
        await clients.pools.update_worker_pool(scaled(emulator, 2), timeout=10)
        await emulator.wait_until(lambda: emulator.pool_output("workers").count("up") == 2)
        await clients.pools.update_worker_pool(scaled(emulator, 0), timeout=10)
        await emulator.wait_until(lambda: emulator.pool_instances("workers") == 0)

        assert before == 0
        assert emulator.pool("workers").scaling.manual_instance_count == 0


async def test_an_instance_that_ends_is_started_again() -> None:
    command = (sys.executable, "-c", "print('once', flush=True)")
    async with Emulator([], pools=[pool(command=command, instances=1)]) as emulator:
        await emulator.wait_until(lambda: emulator.pool_output("workers").count("once") == 2)


async def test_only_the_fields_of_the_mask_change() -> None:
    async with Emulator([], pools=[pool()]) as emulator, connected(emulator.address) as clients:
        before = emulator.pool("workers")
        request = scaled(emulator, 1, description="ignored", template=run.WorkerPoolRevisionTemplate())
        answer = await (await clients.pools.update_worker_pool(request, timeout=10)).result(timeout=10)

        assert (answer.description, answer.template) == ("", before.template)
        assert answer.generation == before.generation + 1
        assert answer.update_time != before.update_time
        assert answer.etag != before.etag


async def test_an_old_etag_is_refused() -> None:
    async with Emulator([], pools=[pool()]) as emulator, connected(emulator.address) as clients:
        etag = emulator.pool("workers").etag
        await clients.pools.update_worker_pool(scaled(emulator, 0, etag=etag), timeout=10)
        with pytest.raises(Aborted):
            await clients.pools.update_worker_pool(scaled(emulator, 3, etag=etag), timeout=10)

        assert emulator.pool("workers").scaling.manual_instance_count == 0


async def test_pools_are_created_listed_and_deleted() -> None:
    async with Emulator([]) as emulator, connected(emulator.address) as clients:
        for name in ("first", "second"):
            request = run.CreateWorkerPoolRequest(
                parent=emulator.location, worker_pool_id=name, worker_pool=pool().message()
            )
            await clients.pools.create_worker_pool(request, timeout=10)
        await clients.pools.delete_worker_pool(name=emulator.pool_name("first"), timeout=10)
        listing = run.ListWorkerPoolsRequest(parent=emulator.location)
        names = [each.name async for each in await clients.pools.list_worker_pools(listing, timeout=10)]

        assert names == [emulator.pool_name("second")]
        with pytest.raises(NotFound):
            await clients.pools.get_worker_pool(name=emulator.pool_name("first"), timeout=10)


@pytest.mark.parametrize("count", [-1, 5000])
async def test_an_impossible_count_is_refused(count: int) -> None:
    async with Emulator([], pools=[pool()]) as emulator, connected(emulator.address) as clients:
        with pytest.raises(InvalidArgument):
            await clients.pools.update_worker_pool(scaled(emulator, count), timeout=10)


async def test_a_mask_with_an_unknown_field_is_refused() -> None:
    async with Emulator([], pools=[pool()]) as emulator, connected(emulator.address) as clients:
        request = scaled(emulator, 1)
        request.update_mask = FieldMask(paths=["scaling.instances"])
        with pytest.raises(InvalidArgument, match="does not exist"):
            await clients.pools.update_worker_pool(request, timeout=10)
