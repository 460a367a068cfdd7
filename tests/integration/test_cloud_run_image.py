"""What stands in for the job's image: an environment with our wheels and nothing else of ours, and an empty ``env``."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.emulator import EmulatedJob, Emulator
from lq_core import QueueConfig, QueueService, Worker, find_task
from lq_core.queue.sqlite import SQLiteConfig
from lq_postgres import PostgresConfig
from servers import PostgresServer

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/cloudrun"
SETTINGS = {"LQ_CONFIG": "paperwork.queue:config", "LITESTAR_QUEUES_TASK_MODULES": "paperwork.tasks"}


def call(*command: str) -> None:
    ours = {"VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT"}
    env = {name: value for name, value in os.environ.items() if name not in ours}
    told = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True)
    assert told.returncode == 0, f"{' '.join(command)}\n{told.stdout}{told.stderr}"


def environment(folder: Path, *names: str) -> str:
    """Build wheels, install them into an empty environment, and give its interpreter."""
    uv = os.environ.get("UV", "uv")
    for name in names:
        call(uv, "build", "--quiet", "--no-sources", "--package", name, "--wheel", "--out-dir", str(folder / "dist"))
    call(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder / "venv"))
    python = str(folder / "venv/bin/python")
    wheels = [str(path) for path in sorted((folder / "dist").glob("*.whl"))]
    assert len(wheels) == len(names)
    call(uv, "pip", "install", "--quiet", "--no-sources", "--compile-bytecode", "--python", python, *wheels)
    return python


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("image"), "lq-core", "lq-cloudrun")


@pytest.fixture(scope="module")
def image_with_postgres(tmp_path_factory: pytest.TempPathFactory) -> str:
    return environment(tmp_path_factory.mktemp("image"), "lq-core", "lq-cloudrun", "lq-postgres")


@pytest.fixture
def dsn() -> Iterator[str]:
    with PostgresServer() as server:
        yield server.create_database("shop")


async def report(
    queue: QueueConfig, job: EmulatedJob, *, dispatch: Literal["each", "pull"] = "each"
) -> tuple[object, str]:
    """Run a record by the job; its result, and what the container printed."""
    async with Emulator([job]) as emulator:
        cloud = CloudRunExecutionConfig(
            "emulated",
            job_name="reports",
            endpoint=emulator.address,
            fallback_execution_backend=None,
            dispatch=dispatch,
        )
        async with QueueService(replace(queue, execution_backends=(cloud,))) as service, Worker(service):
            sent = await service.enqueue(find_task("paperwork.tasks.make_report"), "2026-11", pages=3)
            result = await sent.wait(timeout=30)
            [name] = emulator.executions()
            # What the task prints stays in the process until that ends, which is after its result is stored.
            await emulator.wait_until_over(name)
            return result, emulator.output(name)


@pytest.fixture(autouse=True)
def the_example_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLE), *sys.path])
    monkeypatch.setenv("LITESTAR_QUEUES_CONFIG", "must not be seen:by the container")


@pytest.mark.parametrize("dispatch", ["each", "pull"])
async def test_two_wheels_and_an_empty_environment_run_a_record_to_its_result(
    image: str, tmp_path: Path, dispatch: Literal["each", "pull"]
) -> None:
    job = EmulatedJob(
        name="reports",
        command=[image, "-m", "lq_cloudrun"],
        env={"PYTHONPATH": str(EXAMPLE), **SETTINGS},
        working_directory=tmp_path,
        max_retries=0,
    )
    config = QueueConfig(queue_backend=SQLiteConfig(path=tmp_path / "paperwork.db"), task_modules=("paperwork.tasks",))

    result, printed = await report(config, job, dispatch=dispatch)

    assert result == "2026-11: 3 pages"
    assert "Making 3 pages for 2026-11" in printed


async def test_with_lq_postgres_beside_it_the_same_record_comes_out_of_a_database(
    image_with_postgres: str, tmp_path: Path, dsn: str
) -> None:
    job = EmulatedJob(
        name="reports",
        command=[image_with_postgres, "-m", "lq_cloudrun"],
        env={"PYTHONPATH": str(EXAMPLE), "DATABASE_URL": dsn, **SETTINGS},
        working_directory=tmp_path,
        max_retries=0,
    )
    config = QueueConfig(queue_backend=PostgresConfig(dsn=dsn), task_modules=("paperwork.tasks",))

    result, _ = await report(config, job)

    assert result == "2026-11: 3 pages"


def test_the_image_holds_nothing_of_google(image: str) -> None:
    program = "from importlib.metadata import distributions; print(sorted(each.name for each in distributions()))"
    told = subprocess.run([image, "-I", "-c", program], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "['cronsim', 'lq-cloudrun', 'lq-core', 'msgspec']"


def test_the_laptop_example_runs_as_it_stands(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, str(EXAMPLE / "laptop.py")], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert told.stdout.splitlines()[0] == "2026-11: 3 pages", told.stderr
    assert "Making 3 pages for 2026-11" in told.stdout


def test_the_image_is_started_as_the_tests_start_it() -> None:
    lines = (EXAMPLE / "Dockerfile").read_text().splitlines()

    assert "COPY docs/examples/cloudrun/paperwork/ paperwork/" in lines
    assert {path.name for path in EXAMPLE.glob("paperwork/*.py")} == {"__init__.py", "queue.py", "tasks.py"}
    assert lines[-1] == 'ENTRYPOINT ["python", "-m", "lq_cloudrun"]'
    assert {name for name in SETTINGS if any(f"{name}={SETTINGS[name]}" in line for line in lines)} == SETTINGS.keys()
