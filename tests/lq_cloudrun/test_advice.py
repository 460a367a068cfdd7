"""``lq-cloudrun doctor``, ``gcloud`` and ``terraform``: what they say of a configuration."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lq_cloudrun.cli import main
from lq_cloudrun.emulator import EmulatedJob, Emulator, EmulatorThread

SAID = """
from lq_cloudrun import CloudRunExecutionConfig
cloud = CloudRunExecutionConfig(
    "emulated", job_name="reports", endpoint={endpoint!r},
    fallback_execution_backend=None, container={container!r}, {more},
)
"""
JOBS = ("--image", "europe-docker.pkg.dev/shop/tasks:1", "--dispatcher", "worker@shop.iam.gserviceaccount.com")


LARGE = 'profiles={"large": "reports-large"}'


def ask(
    folder: Path, *words: str, endpoint: str | None = None, container: str | None = None, more: str = LARGE
) -> Result:
    name = f"said_{folder.name}"
    (folder / f"{name}.py").write_text(SAID.format(endpoint=endpoint, container=container, more=more))
    return CliRunner().invoke(main, [*words, "--config", f"{name}:cloud"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def emulated(name: str, *, max_retries: int = 0, config: str = "shop:config", task_count: int = 1) -> EmulatedJob:
    env = {"LITESTAR_QUEUES_CONFIG": config} if config else {}
    return EmulatedJob(name=name, command=["true"], env=env, max_retries=max_retries, task_count=task_count)


def test_the_doctor_finds_healthy_jobs_well(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports"), emulated("reports-large")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert told.exit_code == 0, told.output
    assert told.output.count("is there.") == 2
    assert "--max-retries" not in told.output


def test_the_doctor_tells_the_limits_and_warns_of_more_than_any_quota(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more="max_runs_per_minute=500")

    assert told.exit_code == 0, told.output
    assert "Up to 500 executions are started in a minute and 100 are in flight" in told.output
    assert "lower max_runs_per_minute" in told.output


def test_the_doctor_gives_the_command_that_makes_a_missing_job(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert told.exit_code == 1
    assert "jobs/reports-large does not exist" in told.output
    assert "gcloud run jobs create reports-large" in told.output


def test_the_doctor_warns_of_restarts_of_a_missing_queue_and_of_more_tasks(tmp_path: Path) -> None:
    job = emulated("reports", max_retries=3, config="", task_count=2)
    with EmulatorThread(Emulator([job, emulated("reports-large")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert told.exit_code == 0, told.output
    assert "gcloud run jobs update reports --project=emulated --region=us-central1 --max-retries=0" in told.output
    assert "does not set LITESTAR_QUEUES_CONFIG" in told.output
    assert "--tasks=1" in told.output


def test_the_doctor_finds_a_container_that_is_not_there(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports"), emulated("reports-large")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address, container="main")

    assert told.exit_code == 1
    assert "counts on ['main']" in told.output


def test_the_commands_make_each_job_and_let_the_workers_run_it(tmp_path: Path) -> None:
    told = ask(tmp_path, "gcloud", *JOBS, "--env", "LITESTAR_QUEUES_CONFIG=shop:config", "--env", "LEVEL=7")

    assert told.exit_code == 0, told.output
    assert told.output.count("gcloud run jobs create") == 2
    assert told.output.count("--max-retries=0") == 2
    assert "--set-env-vars='^|^LITESTAR_QUEUES_CONFIG=shop:config|LEVEL=7'" in told.output
    assert told.output.count("--role=roles/run.jobsExecutorWithOverrides") == 2


def test_flags_of_a_container_come_after_those_of_the_job(tmp_path: Path) -> None:
    more = 'profiles={"a": "reports", "b": "reports"}, containers={"b": "web"}'
    told = ask(tmp_path, "gcloud", *JOBS, "--env", "LEVEL=7", container="main", more=more)

    assert told.exit_code == 0, told.output
    words = told.output.partition("gcloud run jobs add-iam")[0].split()
    assert [word.partition("=")[0] for word in words if word.startswith("--")] == [
        *("--project", "--region", "--tasks", "--max-retries", "--task-timeout"),
        *("--container", "--image", "--set-env-vars") * 2,
    ]
    assert [word for word in words if word.startswith("--container")] == ["--container=main", "--container=web"]


def test_terraform_gets_a_block_for_each_container(tmp_path: Path) -> None:
    more = 'profiles={"a": "reports", "b": "reports"}, containers={"b": "web"}'
    told = ask(tmp_path, "terraform", *JOBS, "--env", "LEVEL=7", container="main", more=more)

    assert told.exit_code == 0, told.output
    blocks = told.output.split("containers {")[1:]
    assert [("name  = " in each, each.count("image = "), each.count("env {")) for each in blocks] == [(True, 1, 1)] * 2
    assert told.output.count("{") - told.output.count("}") == 0


@pytest.mark.parametrize("command", [("gcloud", *JOBS), ("terraform", *JOBS), ("doctor",)], ids=" ".join)
def test_without_any_job_each_command_says_what_to_set(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "jobless.py").write_text(
        "from lq_cloudrun import CloudRunExecutionConfig\n"
        "cloud = CloudRunExecutionConfig('emulated', endpoint='127.0.0.1:1', fallback_execution_backend=None)\n"
    )
    told = CliRunner().invoke(main, [*command, "--config", "jobless:cloud"])

    assert told.exit_code == 1
    assert "No job is configured: set CloudRunExecutionConfig(job_name=...)" in told.output
    assert "record" not in told.output


@pytest.mark.parametrize(
    "command, lines",
    [
        ("gcloud", ("--tasks=10", "--max-retries=0", "--task-timeout=1020s")),
        ("terraform", ("task_count = 10", "max_retries = 0", 'timeout     = "1020s"')),
    ],
)
def test_a_job_that_drains_gets_its_containers_and_their_time(
    tmp_path: Path, command: str, lines: tuple[str, ...]
) -> None:
    told = ask(tmp_path, command, *JOBS, more='dispatch="drain"')

    assert told.exit_code == 0, told.output
    assert [line for line in lines if line not in told.output] == []


def test_the_doctor_does_not_mind_many_tasks_or_restarts_where_the_job_drains(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports", task_count=10, max_retries=3)])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more='dispatch="drain"')

    assert told.exit_code == 0, told.output
    assert "gcloud" not in told.output


def test_terraform_gets_the_same(tmp_path: Path) -> None:
    told = ask(tmp_path, "terraform", *JOBS, "--env", 'QUOTED="${x}"')

    assert told.exit_code == 0, told.output
    assert told.output.count('resource "google_cloud_run_v2_job" ') == 2
    assert told.output.count('role     = "roles/run.viewer"') == 2
    assert 'value = "\\"$${x}\\""' in told.output
    assert told.output.count("{") - told.output.count("}") == 0


@pytest.mark.parametrize(
    "path, complaint", [("nowhere:config", "there is no module 'nowhere'"), ("asyncio:run", "which has no")]
)
def test_a_configuration_that_is_none_is_told_clearly(path: str, complaint: str) -> None:
    told = CliRunner().invoke(main, ["doctor", "-c", path])

    assert told.exit_code == 1
    assert complaint in told.output


def test_a_variable_with_the_delimiter_in_it_comes_out_whole(tmp_path: Path) -> None:
    told = ask(tmp_path, "gcloud", *JOBS, "--env", "FIRST=a|b", "--env", "SECOND=c", container="it's")

    assert told.exit_code == 0, told.output
    command = told.output.partition("\n\n")[0].replace("\\\n", " ").splitlines()[0]
    words = shlex.split(command)
    assert "--set-env-vars=^|1|^FIRST=a|b|1|SECOND=c" in words
    assert "--container=it's" in words


def test_the_doctor_counts_what_the_dispatcher_sets(tmp_path: Path) -> None:
    sets = 'extra_env={"LITESTAR_QUEUES_CONFIG": "shop:config", "LITESTAR_QUEUES_EXIT_POLICY": "recorded"}'
    with EmulatorThread(Emulator([emulated("reports", max_retries=3, config="")])) as thread:
        told = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more=sets)

    assert told.exit_code == 0, told.output
    assert "does not set" not in told.output
    assert "--max-retries" not in told.output
