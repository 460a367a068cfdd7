"""A dispatcher may die at any moment: another one continues, and no execution starts twice."""

import json
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import container_tasks as shop
from cloud import Cloud, cloud, events_of
from cloud.emulated import HASTY, SUPPORT
from lq_core import QueueConfig, TaskStatus, Worker


@asynccontextmanager
async def another_dispatcher(sky: Cloud, *how: str) -> AsyncGenerator[Process]:
    """A worker in another process. It is killed at the latest at the end."""
    process = await create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "cloud.dispatching",
            sky.emulator.address,
            json.dumps({**HASTY, "rpc_timeout": 30}),
            *how,
        ),
        env={**os.environ, "PYTHONPATH": str(SUPPORT)},
        stdout=PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"working\n"
    try:
        yield process
    finally:
        await killed(process)


async def killed(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_killed_before_the_name_of_the_job_is_stored(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, rpc_timeout=0.3) as sky:
        async with another_dispatcher(sky, "stuck") as process:
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            assert process.stdout is not None
            assert await process.stdout.readline() == b"stuck\n"
            await killed(process)
        left = await sky.record(sent.record)
        async with Worker(sky.service):
            assert await sent.wait(timeout=60) == 3

        kept = await sky.record(sent.record)
        assert (left.status, left.execution_ref) == (TaskStatus.DISPATCHED, None)
        assert (events_of(kept), kept.attempt, kept.losses) == (["released"], 1, 0)
        assert (len(sky.emulator.executions()), sky.emulator.calls("RunJob")) == (1, 1)


async def test_killed_between_reservation_and_reply_when_the_call_has_arrived(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        async with another_dispatcher(sky) as process:
            sky.emulator.faults.never_reply("RunJob")
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
            await killed(process)

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.attempt, kept.losses, len(sky.emulator.executions())) == (1, 0, 1)


async def test_killed_between_reservation_and_reply_when_the_start_is_slow(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with another_dispatcher(sky) as process:
                sky.emulator.faults.never_reply("RunJob")
                sent = await sky.service.enqueue(shop.add, 1, second=2)
                await sky.emulator.wait_until(lambda: len(sky.emulator.executions()) == 1)
                await killed(process)
            async with Worker(sky.service):
                await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
                hold.release()

                assert await sent.wait(timeout=60) == 3
        assert len(sky.emulator.executions()) == 1


async def test_killed_between_reservation_and_reply_when_the_call_was_lost(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address, rpc_timeout=1) as sky:
        async with another_dispatcher(sky) as process:
            sky.emulator.faults.delay("RunJob", before=30)
            sent = await sky.service.enqueue(shop.add, 1, second=2)
            await sky.emulator.wait_until(lambda: sky.emulator.calls("RunJob") == 1)
            await killed(process)
        async with Worker(sky.service):
            assert await sent.wait(timeout=60) == 3

        assert len(sky.emulator.executions()) == 1


async def test_killed_after_the_reply(queue: QueueConfig, address: str) -> None:
    async with cloud(queue, address) as sky:
        with sky.emulator.faults.hold_starts("shop") as hold:
            async with another_dispatcher(sky) as process:
                sent = await sky.service.enqueue(shop.add, 1, second=2)
                await sky.until(sent.record, lambda record: "/executions/" in (record.execution_ref or ""))
                await killed(process)
            hold.release()

        assert await sent.wait(timeout=60) == 3
        kept = await sky.record(sent.record)
        assert (kept.attempt, len(sky.emulator.executions())) == (1, 1)


async def test_the_container_may_start_before_the_dispatcher_stores_the_reference(
    queue: QueueConfig, address: str
) -> None:
    async with cloud(queue, address, rpc_timeout=20) as sky, Worker(sky.service):
        sky.emulator.faults.delay("RunJob", after=2)
        sent = await sky.service.enqueue(shop.hang)
        record = await sky.until(sent.record, lambda record: record.status == "running")
        [name] = sky.emulator.executions()

        assert record.execution_ref == name
        await sky.service.cancel(sent.id)
        await sky.until(sent.record, lambda record: record.has_ended)
        assert sky.emulator.executions() == [name]
