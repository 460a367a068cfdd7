"""The reports of ``lq doctor`` and of the commands of ``lq-cloudrun`` on a configuration of Cloud Run."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from google.api_core.exceptions import PermissionDenied
from google.cloud import run_v2

from lq_cloudrun import CloudRunExecutionBackend, CloudRunExecutionConfig
from lq_cloudrun.cli import main
from lq_cloudrun.emulator import EmulatedJob, Emulator, EmulatorThread
from lq_core import Finding, QueueConfig, QueueService

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


def test_healthy_jobs_are_ok(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports"), emulated("reports-large")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert result.exit_code == 0, result.output
    assert result.output.count("exists") == 2
    assert "--max-retries" not in result.output


def test_the_doctor_reports_the_limits_and_warns_of_more_than_any_quota(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more="max_runs_per_minute=500")

    assert result.exit_code == 1
    assert "at most 500 starts per minute and 100 executions at once" in result.output
    assert "Lower max_runs_per_minute" in result.output


def test_the_doctor_gives_the_command_that_makes_a_missing_job(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert result.exit_code == 1
    assert "jobs/reports-large does not exist" in result.output
    assert "gcloud run jobs create reports-large" in result.output


def test_the_doctor_warns_of_restarts_of_a_missing_queue_and_of_more_tasks(tmp_path: Path) -> None:
    job = emulated("reports", max_retries=3, config="", task_count=2)
    with EmulatorThread(Emulator([job, emulated("reports-large")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert result.exit_code == 1
    assert "gcloud run jobs update reports --project=emulated --region=us-central1 --max-retries=0" in result.output
    assert "does not set LITESTAR_QUEUES_CONFIG or LQ_CONFIG" in result.output
    assert "--tasks=1" in result.output


def test_the_doctor_finds_a_container_that_is_not_there(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports"), emulated("reports-large")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address, container="main")

    assert result.exit_code == 1
    assert "the configuration expects main" in result.output


@pytest.mark.parametrize("command", [("gcloud", *JOBS), ("terraform", *JOBS), ("doctor",)], ids=" ".join)
def test_without_any_job_each_command_says_what_to_set(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "jobless.py").write_text(
        "from lq_cloudrun import CloudRunExecutionConfig\n"
        "cloud = CloudRunExecutionConfig('emulated', endpoint='127.0.0.1:1', fallback_execution_backend=None)\n"
    )
    result = CliRunner().invoke(main, [*command, "--config", "jobless:cloud"])

    assert result.exit_code == 1
    assert "No job is configured: set CloudRunExecutionConfig(job_name=...)" in result.output
    assert "record" not in result.output


def test_the_doctor_does_not_mind_many_tasks_or_restarts_where_the_job_pulls(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports", task_count=10, max_retries=3)])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more='dispatch="pull"')

    assert result.exit_code == 0, result.output
    assert "gcloud" not in result.output


@pytest.mark.parametrize(
    "path, complaint", [("nowhere:config", "there is no module 'nowhere'"), ("asyncio:run", "which has no")]
)
def test_a_wrong_configuration_gives_a_clear_message(path: str, complaint: str) -> None:
    result = CliRunner().invoke(main, ["doctor", "-c", path])

    assert result.exit_code == 1
    assert complaint in result.output


def test_a_variable_that_the_image_may_set_is_no_warning(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports", config=""), emulated("reports-large")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address)

    assert result.exit_code == 0, result.output
    assert "job reports: queue: Unless the image sets it, run: gcloud run jobs update reports" in result.output


def test_the_doctor_counts_what_the_dispatcher_sets(tmp_path: Path) -> None:
    sets = 'extra_env={"LITESTAR_QUEUES_CONFIG": "shop:config", "LITESTAR_QUEUES_EXIT_POLICY": "recorded"}'
    with EmulatorThread(Emulator([emulated("reports", max_retries=3, config="")])) as thread:
        result = ask(tmp_path, "doctor", endpoint=thread.emulator.address, more=sets)

    assert result.exit_code == 0, result.output
    assert "does not set" not in result.output
    assert "--max-retries" not in result.output


SHOP = """
from lq_cloudrun import CloudRunExecutionConfig
from lq_core import QueueConfig
config = QueueConfig(execution_backends=(
    CloudRunExecutionConfig("emulated", job_name="reports", endpoint={endpoint!r}, fallback_execution_backend=None),
))
named = QueueConfig(execution_backends=("cloudrun",))
unnamed = QueueConfig()
"""
LQ = "from lq_core.__main__ import main; main()"


def lq_doctor(
    folder: Path, *, config: str = "config", endpoint: str | None = None, program: str = LQ
) -> tuple[int, dict[str, Finding]]:
    """Run ``lq migrate`` and ``lq doctor`` in a process that finds no Google credentials."""
    (folder / "shop.py").write_text(SHOP.format(endpoint=endpoint))
    environment = {**os.environ, "NO_GCE_CHECK": "true", "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "none.json")}
    for words in (("migrate",), ("doctor", "--json")):
        command = [sys.executable, "-c", program, *words, f"shop:{config}"]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in result.stderr
    findings = msgspec.json.decode(result.stdout, type=list[Finding])
    return result.returncode, {finding.check: finding for finding in findings}


def test_lq_doctor_checks_the_jobs_beside_the_store(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports", max_retries=3)])) as thread:
        code, found = lq_doctor(tmp_path, endpoint=thread.emulator.address)

    assert (code, found["journal mode"].level, found["job reports"].level) == (1, "ok", "ok")
    assert found["job reports: retries"].level == "warning"
    assert "--max-retries=0" in (found["job reports: retries"].advice or "")


def test_lq_doctor_says_how_to_get_credentials(tmp_path: Path) -> None:
    code, found = lq_doctor(tmp_path)

    assert (code, found["journal mode"].level) == (1, "ok")
    assert "gcloud auth application-default login" in (found["Cloud Run client"].advice or "")


def test_lq_doctor_says_how_to_install_the_client(tmp_path: Path) -> None:
    code, found = lq_doctor(tmp_path, program=f"import sys; sys.modules['google.cloud.run_v2'] = None; {LQ}")

    assert (code, found["journal mode"].level) == (1, "ok")
    assert "pip install 'lq-cloudrun[dispatch]'" in (found["Cloud Run client"].advice or "")


@pytest.mark.parametrize("config, checks", [("named", ["Cloud Run jobs"]), ("unnamed", [])])
def test_lq_doctor_misses_the_configuration_of_a_backend_only_if_the_application_names_it(
    tmp_path: Path, config: str, checks: list[str]
) -> None:
    code, found = lq_doctor(tmp_path, config=config)

    assert (code, [check for check in found if "Cloud Run" in check]) == (len(checks), checks)


def test_a_server_that_does_not_answer_is_a_warning(tmp_path: Path) -> None:
    with EmulatorThread(Emulator([emulated("reports")])) as thread:
        gone = thread.emulator.address
    result = ask(tmp_path, "doctor", "--json", endpoint=gone, more="rpc_timeout=0.5")

    [job] = [found for found in msgspec.json.decode(result.output, type=list[Finding]) if found.check == "job reports"]
    assert (result.exit_code, job.level, "gcloud auth" in (job.advice or "")) == (1, "warning", True)


class Google:
    """Answers as Google's clients do if you may run the job, but not override its settings."""

    async def get_job(self, **_: object) -> run_v2.Job:
        job = run_v2.Job()
        job.template.template.max_retries = 0
        return job

    async def test_iam_permissions(self, **_: object) -> SimpleNamespace:
        return SimpleNamespace(permissions=["run.jobs.run", "run.executions.cancel"])

    async def list_executions(self, **_: object) -> None:
        raise PermissionDenied("no run.executions.list")


async def test_a_permission_that_is_missing_comes_with_the_command_that_grants_it() -> None:
    google: Any = Google()
    config = CloudRunExecutionConfig("shop", job_name="reports", fallback_execution_backend=None)
    backend = CloudRunExecutionBackend(execution_config=config, jobs_client=google, executions_client=google)

    found = {finding.check: finding for finding in await backend.diagnose(QueueService(QueueConfig()))}

    assert found["job reports: permissions"].found == "missing: run.jobs.runWithOverrides"
    assert found["job reports: executions"].found.startswith("cannot be listed: PermissionDenied")
    for check in ("permissions", "executions"):
        assert "gcloud run jobs add-iam-policy-binding reports" in (found[f"job reports: {check}"].advice or "")


def test_the_configuration_is_named_as_in_the_commands_of_lq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = ask(tmp_path, "gcloud", *JOBS).output
    config = f"said_{tmp_path.name}:cloud"
    by_argument = CliRunner().invoke(main, ["gcloud", config, *JOBS])
    monkeypatch.setenv("LQ_CONFIG", config)
    by_variable = CliRunner().invoke(main, ["gcloud", *JOBS])

    assert (by_argument.exit_code, by_variable.exit_code) == (0, 0)
    assert by_argument.output == by_variable.output == by_option


def test_without_a_configuration_the_command_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LQ_CONFIG", raising=False)

    result = CliRunner().invoke(main, ["doctor"])

    assert (result.exit_code, "Name a configuration, or set LQ_CONFIG." in result.output) == (2, True)
