"""
Runs the application in documents.py over the whole standard library, and kills its server half way.

The program posts every ``.py`` file to a real server. Half way, it kills the server with SIGKILL and starts it again.
At the end, it compares every result with a direct computation. The exit code is 0 if each file was analysed and each
result is right.
"""

import argparse
import asyncio
import logging
import os
import socket
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Final
from uuid import UUID

import httpx
import msgspec
from documents import Analysis, analyse, config
from look_around import look_around
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lq_core import QueuedTaskRecord, Statistics, TaskStatus

HERE: Final = Path(__file__).resolve().parent
CLIENTS: Final = 8
"""The number of files that are posted at once."""

IDLE: Final = 20
"""The number of files that are posted one by one at the end, to measure how soon an idle worker starts."""

STALLED: Final = 120.0
"""Seconds without any progress after which the demonstration gives up."""

console = Console(highlight=False)


class Failure(Exception):  # noqa: N818 -- a fault of the queue that is printed at the end
    """The demonstration cannot go on; the message says why."""


class Server:
    """The application under uvicorn, in a process that this program can kill."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port = str(free.getsockname()[1])
        self.address: Final = f"http://127.0.0.1:{self._port}"
        self.log: Final = folder / "server.log"
        self.up: Final = asyncio.Event()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the server, and return when it answers."""
        command = [sys.executable, "-m", "uvicorn", "documents:app", "--app-dir", str(HERE), "--port", self._port]
        environment = {**os.environ, "LQ_SQLITE_PATH": str(self._folder / "lq.db"), "PYTHONWARNINGS": "ignore"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603 -- starting takes no time; the command is fixed
                [*command, "--no-access-log"], cwd=self._folder, env=environment, stdout=log, stderr=log
            )
        until = time.monotonic() + STALLED
        async with httpx.AsyncClient(base_url=self.address, timeout=30) as client:
            while not await answers(client):
                if self._process.poll() is not None or time.monotonic() > until:
                    raise Failure("The server does not start.")
                await asyncio.sleep(0.05)
        self.up.set()

    def kill(self) -> None:
        """Kill the server: like in a power cut, it has no time to shut down."""
        self.up.clear()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """Ask the server to end, and wait until it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


@dataclass
class Story:
    """The events of the demonstration so far."""

    root: Path
    files: Sequence[Path]
    accepted: dict[Path, UUID] = field(default_factory=dict[Path, UUID])
    """The files whose record is stored, according to the server."""

    repeated: int = 0
    """The number of requests that got no answer and were sent again."""


async def tell(story: Story, folder: Path) -> bool:
    """Run the demonstration, print its outcome, and return whether every result is right."""
    server = Server(folder)
    megabytes = sum(path.stat().st_size for path in story.files) / 1e6
    console.print(f"Posting {len(story.files):,} files ({megabytes:.1f} MB). The server is killed half way.")
    console.print(f"A worker without a heartbeat is dead after {config.heartbeat_timeout:g} s; the default is longer.")
    began = time.monotonic()
    try:
        await server.start()
        with progress_bars(len(story.files)) as bars:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(post_all(server, story, bars))
                tasks.create_task(kill_half_way(server, story))
                tasks.create_task(watch(server, story, bars))
        seconds = time.monotonic() - began
        async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:
            records = await read_all(client, story.accepted)
            idle = await measure_idle(client)
        server.stop()
    except BaseException:
        console.print(server.log.read_text()[-3000:], markup=False)
        raise
    finally:
        server.kill()
    console.print("Comparing every result with a direct computation.")
    wrong = await asyncio.to_thread(faults, story, records)
    print_table(story, records, idle, wrong=len(wrong), seconds=seconds)
    for problem in wrong[:10]:
        console.print(problem, style="red", markup=False)
    return not wrong


async def post_all(server: Server, story: Story, bars: Progress) -> None:
    """Post every file, several at once."""
    waiting = iter(story.files)

    async def post_some(client: httpx.AsyncClient) -> None:
        for path in waiting:
            story.accepted[path] = await post_until_answered(client, server, story, path)
            bars.update(bars.task_ids[0], completed=len(story.accepted))

    async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:
        await asyncio.gather(*(post_some(client) for _ in range(CLIENTS)))


async def post_until_answered(client: httpx.AsyncClient, server: Server, story: Story, path: Path) -> UUID:
    """Post one file. If the server dies before it answers, post the file again when the server is back."""
    name = path.relative_to(story.root).as_posix()
    content = await asyncio.to_thread(path.read_bytes)
    while True:
        await server.up.wait()
        try:
            answer = await client.post("/documents", params={"name": name}, content=content)
        except httpx.TransportError:
            story.repeated += 1
            await asyncio.sleep(0.05)
            continue
        if answer.is_error:
            raise Failure(f"{path} was refused: {answer.text}")
        return UUID(answer.json())


async def kill_half_way(server: Server, story: Story) -> None:
    """Kill the server when it has accepted half of the files, and start it again."""
    while len(story.accepted) < len(story.files) / 2:  # noqa: ASYNC110 -- the answers come from another process
        await asyncio.sleep(0.005)
    server.kill()
    console.print(f"SIGKILL after the server accepted {len(story.accepted):,} files. Starting it again.")
    await server.start()


async def watch(server: Server, story: Story, bars: Progress) -> None:
    """Show how many files are analysed, until all of them are."""
    best, since = 0, time.monotonic()
    async with httpx.AsyncClient(base_url=server.address, timeout=30) as client:
        while best < len(story.files):
            await asyncio.sleep(0.1)
            statistics = await read_statistics(client)
            ended = 0 if statistics is None else sum(map(statistics.total, (TaskStatus.COMPLETED, TaskStatus.FAILED)))
            if ended > best:
                best, since = ended, time.monotonic()
                bars.update(bars.task_ids[1], completed=min(ended, len(story.files)))
            if time.monotonic() - since > STALLED:
                raise Failure(f"No progress for {STALLED:g} s: {statistics or 'the server does not answer'}.")


async def read_all(client: httpx.AsyncClient, accepted: Mapping[Path, UUID]) -> Mapping[Path, QueuedTaskRecord]:
    """Read the record of every file; leave out missing records."""
    found: dict[Path, QueuedTaskRecord] = {}
    for path, record_id in accepted.items():
        record = await read_ended(client, record_id)
        if record is not None:
            found[path] = record
    return found


async def read_ended(client: httpx.AsyncClient, record_id: UUID) -> QueuedTaskRecord | None:
    """Wait until a record has ended, and read it; return None if there is no such record."""
    until = time.monotonic() + STALLED
    while True:
        answer = await client.get(f"/documents/{record_id}")
        if answer.is_error:
            return None
        record = msgspec.json.decode(answer.content, type=QueuedTaskRecord)
        if record.has_ended or time.monotonic() > until:
            return record
        await asyncio.sleep(0.005)


async def measure_idle(client: httpx.AsyncClient) -> Sequence[QueuedTaskRecord]:
    """Post a small file repeatedly, each time to an idle worker."""
    records: list[QueuedTaskRecord] = []
    for number in range(IDLE):
        answer = await client.post("/documents", params={"name": f"idle {number}"}, content=b"import this\n")
        record = await read_ended(client, UUID(answer.json()))
        if record is None:
            raise Failure(f"Record {answer.json()} is lost.")
        records.append(record)
    return records


def faults(story: Story, records: Mapping[Path, QueuedTaskRecord]) -> Sequence[str]:
    """Compare every result with a direct computation, and describe what is wrong."""
    found: list[str] = []
    for path in story.files:
        record = records.get(path)
        if record is None:
            found.append(f"{path}: lost; there is no record {story.accepted.get(path)}")
        elif record.status is not TaskStatus.COMPLETED or record.result is None:
            found.append(f"{path}: {record.status}, {record.error}")
        elif msgspec.json.decode(record.result, type=Analysis) != analyse(path.read_bytes()):
            found.append(f"{path}: the result differs from a direct computation: {record.result}")
    return found


def print_table(
    story: Story,
    records: Mapping[Path, QueuedTaskRecord],
    idle: Sequence[QueuedTaskRecord],
    *,
    wrong: int,
    seconds: float,
) -> None:
    """Print the figures of the demonstration."""
    every = list(records.values())
    table = Table(title="documents", title_justify="left", show_header=False)
    rows = {
        "files": f"{len(story.files):,}",
        "completed": f"{sum(record.status is TaskStatus.COMPLETED for record in every):,}",
        "failures": f"{sum(record.status is TaskStatus.FAILED for record in every):,}",
        "lost": f"{len(story.files) - len(every):,}",
        "wrong or missing results": f"{wrong:,}",
        "requests without an answer, sent again": f"{story.repeated:,}",
        "running at SIGKILL, rescued and run again": f"{sum(record.losses > 0 for record in every):,}",
        "seconds, including start, kill and restart": f"{seconds:.1f}",
        "tasks per second": f"{len(every) / seconds:,.0f}",
        "pick-up with this backlog, p50 / p95": pick_up(every),
        "pick-up when idle, p50 / p95": pick_up(idle),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def pick_up(records: Sequence[QueuedTaskRecord]) -> str:
    """Return how long records waited for their first attempt after they were due."""
    waits = [
        (record.started_at - record.scheduled_at).total_seconds()
        for record in records
        if record.started_at is not None and record.attempt == 1
    ]
    if len(waits) < 2:  # noqa: PLR2004 -- quantiles needs two values
        return "-"
    percents = quantiles(waits, n=100)
    return " / ".join(
        f"{wait:.2f} s" if wait >= 1 else f"{wait * 1000:.1f} ms" for wait in (percents[49], percents[94])
    )


async def answers(client: httpx.AsyncClient) -> bool:
    """Return whether the server answers."""
    return await read_statistics(client) is not None


async def read_statistics(client: httpx.AsyncClient) -> Statistics | None:
    """Read the counts; return None if the server does not answer."""
    try:
        answer = await client.get("/queue")
    except httpx.TransportError:
        return None
    return msgspec.json.decode(answer.content, type=Statistics)


@contextmanager
def progress_bars(total: int) -> Generator[Progress, None, None]:
    """Show two progress bars while the block runs: accepted and analysed."""
    columns = (TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        bars.add_task("accepted", total=total)
        bars.add_task("analysed", total=total)
        yield bars


def standard_library(limit: int | None) -> Story:
    """Find the Python files of the standard library, or, with a limit, an even selection of them."""
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    return Story(root, found if limit is None else found[:: max(1, len(found) // limit)][:limit])


def main() -> None:
    """Run the demonstration, and exit with 0 if every result is right."""
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__)
    parser.add_argument("--limit", type=int, help="the largest number of files to post")
    parser.add_argument("--look", action=argparse.BooleanOptionalAction, help="serve the dashboard at the end")
    asked = parser.parse_args()
    if asked.limit is not None and asked.limit < 1:
        parser.error(f"--limit is {asked.limit}; it must be at least 1.")
    warnings.simplefilter("ignore")  # The tests of the standard library contain doubtful Python.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    well = False
    with TemporaryDirectory(prefix="lq-demo-") as folder:
        try:
            well = asyncio.run(tell(standard_library(asked.limit), Path(folder)))
        except* Failure as failures:
            for failure in failures.exceptions:
                console.print(f"Failed: {failure}", style="red", markup=False)
        if not well:
            sys.exit(1)
        console.print("Nothing was lost, and every result is right.")
        if asked.look or (asked.look is None and sys.stdout.isatty()):
            look_around(Path(folder) / "lq.db", console)
        else:
            console.print("./dev demo --look serves the dashboard of all this at the end.")


if __name__ == "__main__":
    main()
