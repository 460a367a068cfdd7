"""The command ``lq-cloudrun``, as a person runs it."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

import pytest
from click.testing import CliRunner

from lq_cloudrun.cli import main
from lq_cloudrun.emulator import connected

COMMAND = str(Path(sysconfig.get_path("scripts")) / "lq-cloudrun")
JOB = "projects/shop/locations/us-central1/jobs/reports"


async def started(*options: str) -> tuple[Process, str]:
    process = await asyncio.create_subprocess_exec(
        COMMAND, "emulator", "--port", "0", "--project", "shop", *options, stdout=PIPE, stderr=STDOUT
    )
    first = await line_with(process, "Emulating")
    [address] = re.findall(r"127\.0\.0\.1:\d+", first)
    return process, address


async def line_with(process: Process, text: str) -> str:
    assert process.stdout
    seen: list[str] = []
    async with asyncio.timeout(30):
        async for line in process.stdout:
            seen.append(line.decode())
            if text in seen[-1]:
                return seen[-1]
    pytest.fail(f"{text!r} was not printed, but: {seen}")


async def stopped(process: Process, how: signal.Signals) -> tuple[int, str]:
    process.send_signal(how)
    rest, _ = await asyncio.wait_for(process.communicate(), timeout=30)
    assert process.returncode is not None
    return process.returncode, rest.decode()


async def test_it_runs_jobs_prints_their_events_and_stops_on_ctrl_c() -> None:
    process, address = await started("--job", "reports=sh -c 'exit $CODE'", "--env", "CODE=3", "--max-retries", "1")
    async with connected(address) as clients:
        operation = await clients.jobs.run_job(name=JOB, timeout=5)
        short = operation.metadata.name.rpartition("/")[2]
        retried = await line_with(process, "task.retried")
        failed = await line_with(process, "execution.failed")

    assert short in retried
    assert short in failed
    assert await stopped(process, signal.SIGINT) == (0, "Stopping.\n")


async def test_stopping_ends_the_jobs_and_keeps_what_they_printed(tmp_path: Path) -> None:
    held, printed = tmp_path / "held", tmp_path / "printed"
    os.mkfifo(held)
    os.mkfifo(printed)
    # The file ends when no process has the other side open.
    all_gone = asyncio.create_task(asyncio.to_thread(held.read_bytes))
    process, address = await started(
        "--job",
        f"reports=sh -c 'exec 3>{held}; echo hello; echo > {printed}; sleep 600'",
        "--log-directory",
        str(tmp_path),
    )
    async with connected(address) as clients:
        operation = await clients.jobs.run_job(name=JOB, timeout=5)
    await asyncio.to_thread(printed.read_bytes)
    assert not all_gone.done()
    code, _ = await stopped(process, signal.SIGTERM)

    assert (code, await asyncio.wait_for(all_gone, timeout=10)) == (0, b"")
    assert (tmp_path / f"{operation.metadata.name.rpartition('/')[2]}.log").read_text() == "hello\n"


@pytest.mark.parametrize(
    "missing, program, advice",
    [
        ("click", "from lq_cloudrun.__main__ import command; command()", "'lq-cloudrun[cli]'"),
        ("grpc", "import lq_cloudrun.emulator", "'lq-cloudrun[emulator]'"),
        (
            "grpc",
            "sys.argv[1:] = ['emulator', '--job', 'a=b']; from lq_cloudrun.__main__ import command; command()",
            "'lq-cloudrun[emulator]'",
        ),
        (
            "google.cloud.run_v2",
            "sys.argv[1:] = ['emulator', '--job', 'a=b']; from lq_cloudrun.__main__ import command; command()",
            "'lq-cloudrun[emulator]'",
        ),
    ],
)
def test_without_an_extra_the_last_line_says_what_to_install(missing: str, program: str, advice: str) -> None:
    without = f"import sys; sys.modules[{missing!r}] = None; {program}"
    result = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)

    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].endswith(f"Install it with: pip install {advice}")


@pytest.mark.parametrize(
    "options, complaint",
    [
        ([], "Missing option '--job'"),
        (["--job", "reports"], "'reports' is not of the form NAME=COMMAND"),
        (["--job", "reports="], "must be a list"),
        (["--job", "reports=sh -c 'echo"], "cannot be read"),
        (["--job", "Reports=true"], "must begin with a small letter"),
        (["--job", "reports=true", "--job", "reports=false"], "same name"),
        (["--job", "reports=true", "--env", "LEVEL"], "'LEVEL' is not of the form NAME=VALUE"),
        (["--job", "reports=true", "--env", "PORT=80"], "reserved by Cloud Run"),
        (["--job", "reports=true", "--max-retries", "11"], "0<=x<=10"),
        (["--job", "reports=true", "--timeout", "0"], "x>0"),
    ],
)
def test_wrong_usage_gives_a_clear_message(options: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, ["emulator", *options])

    assert (result.exit_code, complaint in " ".join(result.output.split())) == (2, True), result.output


def test_a_port_in_use_gives_a_clear_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["emulator", "--job", "reports=true", "--port", port])

    assert (result.exit_code, f"The port {port} is not free" in result.output) == (1, True), result.output
