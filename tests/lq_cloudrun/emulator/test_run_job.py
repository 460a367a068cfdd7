"""The requests that RunJob accepts and refuses, and the environment of the process, through Google's own clients."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.run_v2 import types as run
from google.longrunning.operations_pb2 import GetOperationRequest

from lq_cloudrun.emulator import Clients, EmulatedJob, Emulator, Phase, connected


def a_request(emulator: Emulator, *, env: Mapping[str, str] | None = None, container: str = "") -> run.RunJobRequest:
    return run.RunJobRequest(
        name=emulator.job_name("reports"),
        overrides=run.RunJobRequest.Overrides(
            container_overrides=[
                run.RunJobRequest.Overrides.ContainerOverride(
                    name=container,
                    env=[run.EnvVar(name=name, value=value) for name, value in (env or {}).items()],
                )
            ]
        ),
    )


async def started(clients: Clients, request: run.RunJobRequest) -> str:
    operation = await clients.jobs.run_job(request, timeout=5)
    return operation.metadata.name


async def test_the_name_of_the_execution_is_at_hand_at_once() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        with emulator.faults.hold_starts("reports"):
            operation = await clients.jobs.run_job(name=emulator.job_name("reports"), timeout=5)

            assert operation.metadata.name == emulator.executions()[0]
            assert emulator.phase(operation.metadata.name) is Phase.WAITING


async def test_variables_are_merged_by_name_and_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_DISPATCHER", "x")
    jobs = [EmulatedJob(name="reports", command=["env"], env={"LEVEL": "info", "REGION": "north"})]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        name = await started(clients, a_request(emulator, env={"LEVEL": "debug", "TASK": "7"}))
        await emulator.wait_for(name, Phase.SUCCEEDED)

        seen = dict(line.split("=", 1) for line in emulator.output(name).splitlines())

    assert seen == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LEVEL": "debug",
        "REGION": "north",
        "TASK": "7",
        "CLOUD_RUN_JOB": "reports",
        "CLOUD_RUN_EXECUTION": name.rpartition("/")[2],
        "CLOUD_RUN_TASK_INDEX": "0",
        "CLOUD_RUN_TASK_ATTEMPT": "0",
        "CLOUD_RUN_TASK_COUNT": "1",
    }


async def test_the_environment_that_counts_is_shown_with_the_execution() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"], env={"LEVEL": "info"})]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        name = await started(clients, a_request(emulator, env={"TASK": "7"}))

        shown = await clients.executions.get_execution(name=name, timeout=5)

    assert {variable.name: variable.value for variable in shown.template.containers[0].env} == {
        "LEVEL": "info",
        "TASK": "7",
    }


@pytest.mark.parametrize(
    "env",
    [
        {"CLOUD_RUN_TASK_INDEX": "3"},
        {"PORT": "80"},
        {"K_SERVICE": "shop"},
        {"X_GOOGLE_TARGET": "a"},
        {"BIG": "x" * 32769},
        {"N" * 32769: "x"},
        {"": "x"},
        {f"V{number}": "x" for number in range(1001)},
    ],
    ids=["cloud-run", "port", "knative", "google", "long-value", "long-name", "empty-name", "too-many"],
)
async def test_an_environment_that_cloud_run_refuses_is_refused(env: dict[str, str]) -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        with pytest.raises(InvalidArgument):
            await started(clients, a_request(emulator, env=env))

        assert emulator.executions() == []


async def test_the_value_of_a_variable_cannot_come_from_a_secret() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        request = a_request(emulator, env={"TASK": ""})
        secret = run.SecretKeySelector(secret="password", version="1")
        request.overrides.container_overrides[0].env[0].value_source = run.EnvVarSource(secret_key_ref=secret)

        with pytest.raises(InvalidArgument, match="secret"):
            await started(clients, request)


async def test_the_longest_value_is_counted_in_bytes() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        await started(clients, a_request(emulator, env={"BIG": "é" * 16384}))

        with pytest.raises(InvalidArgument, match="32770 bytes"):
            await started(clients, a_request(emulator, env={"BIG": "é" * 16385}))


async def test_arguments_are_replaced_or_cleared() -> None:
    jobs = [EmulatedJob(name="reports", command=["echo", "-"], args=["own"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        replacing, clearing = a_request(emulator), a_request(emulator)
        replacing.overrides.container_overrides[0].args = ["other", "two words"]
        clearing.overrides.container_overrides[0].clear_args = True
        names = [await started(clients, request) for request in (a_request(emulator), replacing, clearing)]
        for name in names:
            await emulator.wait_for(name, Phase.SUCCEEDED)

        assert [emulator.output(name) for name in names] == ["- own\n", "- other two words\n", "-\n"]


async def test_each_task_of_an_execution_knows_its_index() -> None:
    jobs = [EmulatedJob(name="reports", command=["sh", "-c", "echo $CLOUD_RUN_TASK_INDEX of $CLOUD_RUN_TASK_COUNT"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        request = run.RunJobRequest(name=emulator.job_name("reports"), overrides={"task_count": 3})
        name = await started(clients, request)
        ended = await emulator.wait_for(name, Phase.SUCCEEDED)

        assert sorted(emulator.output(name).splitlines()) == ["0 of 3", "1 of 3", "2 of 3"]
        assert (ended.task_count, ended.succeeded_count) == (3, 3)


async def test_a_job_with_sidecars_wants_the_container_named() -> None:
    jobs = [EmulatedJob(name="reports", command=["env"], container="task", sidecars=["proxy"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        with pytest.raises(InvalidArgument, match="must name one"):
            await started(clients, a_request(emulator, env={"TASK": "7"}))
        with pytest.raises(InvalidArgument, match="no container 'other'"):
            await started(clients, a_request(emulator, env={"TASK": "7"}, container="other"))
        name = await started(clients, a_request(emulator, env={"TASK": "7"}, container="task"))
        ended = await emulator.wait_for(name, Phase.SUCCEEDED)

        assert "TASK=7" in emulator.output(name)
        assert [container.name for container in ended.template.containers] == ["task", "proxy"]


async def test_an_unknown_job_is_not_found() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        with pytest.raises(NotFound, match="no job"):
            await clients.jobs.run_job(name=emulator.job_name("mail"), timeout=5)
        with pytest.raises(NotFound, match="no job"):
            await clients.jobs.run_job(name="projects/other/locations/us-central1/jobs/reports", timeout=5)


async def test_validation_alone_starts_nothing() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"])]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        request = run.RunJobRequest(name=emulator.job_name("reports"), validate_only=True)
        operation = await clients.jobs.run_job(request, timeout=5)

        with pytest.raises(NotFound):
            await clients.jobs.get_operation(GetOperationRequest(name=operation.operation.name), timeout=5)
        assert emulator.executions() == []


async def test_the_job_shows_its_settings_and_its_latest_execution() -> None:
    jobs = [EmulatedJob(name="reports", command=["true"], max_retries=2, timeout=90)]
    async with Emulator(jobs) as emulator, connected(emulator.address) as clients:
        name = await started(clients, a_request(emulator))
        job = await clients.jobs.get_job(name=emulator.job_name("reports"), timeout=5)

    assert job.template.template.max_retries == 2
    assert str(job.template.template.timeout) == "0:01:30"
    assert job.latest_created_execution.name == name.rpartition("/")[2]
    assert job.execution_count == 1


async def test_what_a_job_prints_lies_where_the_log_uri_says(tmp_path: Path) -> None:
    jobs = [EmulatedJob(name="reports", command=["sh", "-c", "echo out; echo err >&2"])]
    async with Emulator(jobs, log_directory=tmp_path) as emulator, connected(emulator.address) as clients:
        name = await started(clients, a_request(emulator))
        ended = await emulator.wait_for(name, Phase.SUCCEEDED)

    log = tmp_path / f"{name.rpartition('/')[2]}.log"
    assert ended.log_uri == log.as_uri()
    assert log.read_text() == "out\nerr\n"
