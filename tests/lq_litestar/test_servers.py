"""The application under real servers: several processes on one file, SIGTERM, Ctrl-C and restarts."""

import asyncio
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from programs import Program, running, until
from sqlite_file import SQLiteFile

UVICORN = (sys.executable, "-m", "uvicorn", "shop_app:app", "--port", "0")
LITESTAR_RUN = (sys.executable, "-m", "litestar", "--app", "shop_app:app", "run", "--port", "0")


async def address_of(server: Program) -> str:
    """Where the server listens: it chose a free port, and says so."""
    line = await server.line_with("Uvicorn running on")
    await server.said("Application startup complete")
    [(address, host, port)] = re.findall(r"(http://([\d.]+):(\d+))", line)
    # It says so shortly before it listens.
    await until(partial(accepts, host, int(port)), what=f"{address} accepts connections")
    return address


async def accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def post(address: str, path: str) -> Any:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        return (await client.post(path)).raise_for_status().json()


async def result(address: str, record_id: str) -> str:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        return (await client.get(f"/result/{record_id}")).raise_for_status().text


async def test_two_server_processes_share_the_work_of_one_file(folder: Path) -> None:
    async with running(*UVICORN, "--workers", "2", folder=folder) as server:
        address = await address_of(server)
        await server.said("Application startup complete", times=2)
        ids = await post(address, "/meet")
        # Each process runs one task at a time, and each task ends only when the other has begun.
        pids = {await result(address, record_id) for record_id in ids}
        await server.end(signal.SIGTERM)

    assert len(pids) == 2


async def test_sigterm_lets_a_running_task_finish(folder: Path) -> None:
    async with running(*UVICORN, folder=folder) as server:
        record_id = await post(await address_of(server), "/wait")
        await server.line_with("waiting")
        server.send(signal.SIGTERM)
        await server.line_with("Waiting for application shutdown")
        (folder / "gate").touch()
        await server.end()

    record = await SQLiteFile(folder / "shop.db").read(UUID(record_id))
    assert (record.status, record.result) == ("completed", '"through the gate"')


async def test_sigterm_interrupts_tasks_that_do_not_finish_in_time(folder: Path) -> None:
    async with running(*UVICORN, folder=folder, GRACE="0.1") as server:
        record_id = await post(await address_of(server), "/wait")
        await server.line_with("waiting")
        await server.end(signal.SIGTERM)

    record = await SQLiteFile(folder / "shop.db").read(UUID(record_id))
    assert (record.status, record.retry_count, record.history[-1].event) == ("pending", 0, "interrupted")


async def test_the_records_of_a_killed_server_run_after_its_restart(folder: Path) -> None:
    async with running(*UVICORN, folder=folder) as server:
        record_id = await post(await address_of(server), "/wait")
        await server.line_with("waiting")
        await server.end(signal.SIGKILL)

    (folder / "gate").touch()
    async with running(*UVICORN, folder=folder) as server:
        assert await result(await address_of(server), record_id) == '"through the gate"'
        await server.end(signal.SIGTERM)

    record = await SQLiteFile(folder / "shop.db").read(UUID(record_id))
    assert (record.attempt, record.losses) == (2, 1)


@pytest.mark.parametrize("processes, more", [(1, ()), (1, ("--reload",)), (2, ("--web-concurrency", "2"))])
async def test_litestar_run_works_and_stops_on_ctrl_c(folder: Path, processes: int, more: tuple[str, ...]) -> None:
    (folder / "gate").touch()
    async with running(*LITESTAR_RUN, *more, folder=folder) as server:
        address = await address_of(server)
        # A signal during its startup makes uvicorn leave without the end of the lifespan.
        await server.said("Application startup complete", times=processes)
        record_id = await post(address, "/wait")
        assert await result(address, record_id) == '"through the gate"'
        os.killpg(server.pid, signal.SIGINT)
        await server.end()

    assert "Traceback" not in "".join(server.printed)
