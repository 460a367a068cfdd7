"""The configuration: its fixed defaults, and the advice for refused values."""

from dataclasses import fields
from datetime import timedelta
from typing import Any, Literal

import pytest

import container_tasks as shop
from lq_cloudrun import CloudRunExecutionBackend, CloudRunExecutionConfig, UnknownProfileError
from lq_core import ConfigurationError, QueueConfig, QueueService, Worker
from lq_core.queue.memory import InMemoryQueueBackend

FIXED: dict[str, object] = {
    "region": "us-central1",
    "job_name": None,
    "profiles": {},
    "timeout": 300,
    "poll_interval": 5.0,
    "env_prefix": "LITESTAR_QUEUES",
    "extra_env": {},
    "fallback_execution_backend": "local",
}


def test_the_first_fields_and_their_defaults_are_fixed() -> None:
    config = CloudRunExecutionConfig("shop")

    assert {name: getattr(config, name) for name in FIXED} == FIXED
    assert [each.name for each in fields(config)][: len(FIXED) + 1] == ["project_id", *FIXED]
    assert config.execution_backend == "cloudrun"


@pytest.mark.parametrize(
    "settings, advice",
    [
        ({"project_id": ""}, "project_id is ''"),
        ({"project_id": "my project"}, "project_id is 'my project'"),
        ({"project_id": None}, "project_id is None; it must be the id of the project"),
        ({"region": ""}, "region is ''"),
        ({"job_name": ""}, "job_name is ''; it must be the name of a job"),
        ({"job_name": "Reports Job"}, "job_name is 'Reports Job'; it must be the name of a job"),
        ({"job_name": "team/reports"}, "job_name is 'team/reports'; it must be the name of a job"),
        ({"job_name": "projects/other/jobs/gpu"}, "it must be the name of a job as `gcloud run jobs list` shows it"),
        (
            {"job_name": "projects/o/locations/l/jobs/j/executions/x"},
            "it must be the name of a job as `gcloud run jobs list` shows it",
        ),
        (
            {"profiles": {"large": ""}},
            "profiles is {'large': ''}; it must be a dict from profiles to the names of jobs",
        ),
        ({"profiles": {"large": None}}, "profiles is {'large': None}; it must be a dict"),
        (
            {"containers": {"lagre": "web"}, "profiles": {"large": "big"}},
            "containers names 'lagre', which is not a profile",
        ),
        ({"timeout": "300"}, "timeout is '300'; it must be a whole number"),
        ({"timeout": 0.5}, "timeout is 0.5; it must be a whole number"),
        ({"timeout": 604_801}, "timeout is 604801; it must be .* to 604800, the most that Cloud Run allows"),
        ({"poll_interval": float("nan")}, "poll_interval is nan; it must be a number of seconds greater than 0"),
        ({"pull_tasks": 10_001}, "pull_tasks is 10001; it must be .* to 10000, the most that Cloud Run allows"),
        ({"extra_env": {"LEVEL": 7}}, "extra_env is {'LEVEL': 7}; it must be a dict"),
        (
            {"extra_env": {"A=B": "x"}},
            "extra_env is {'A=B': 'x'}; it must be a dict from the names of variables, without '='",
        ),
        ({"endpoint": "127.0.0.1:http"}, "it must be the address of an emulator on this machine"),
        ({"fallback_execution_backend": "cloudrun"}, "name another one, or None to wait"),
        ({"start_deadline": float("inf")}, "start_deadline is inf; it must be a number of seconds greater than 0"),
        ({"startup_margin": float("inf")}, "startup_margin is inf; it must be a number of seconds from 0"),
        ({"max_interruptions": 21}, "max_interruptions is 21; it must be .* to 20, the most that a record remembers"),
        ({"timeout": 0}, "timeout is 0; it must be a whole number of seconds from 1"),
        ({"runs_per_minute": -1}, "runs_per_minute is -1"),
        ({"startup_margin": -1}, "startup_margin is -1; it must be a number of seconds from 0"),
        ({"env_prefix": "1 2"}, "env_prefix is '1 2'"),
        ({"env_prefix": "K"}, "which Cloud Run reserves"),
        ({"env_prefix": "CLOUD_RUN_SHOP"}, "which Cloud Run reserves"),
        ({"env_prefix": "X_GOOGLE"}, "which Cloud Run reserves"),
        ({"extra_env": {"LITESTAR_QUEUES_EPOCH": "7"}}, "tells the container its work"),
        ({"extra_env": {"CLOUD_RUN_JOB": "7"}}, "which Cloud Run reserves"),
        ({"extra_env": {"PORT": "80"}}, "which Cloud Run reserves"),
        ({"extra_env": {"LITESTAR_QUEUES_PULL": "7"}}, "tells the container its work"),
        ({"dispatch": "all"}, "dispatch is 'all'; it must be 'each' or 'pull'"),
        ({"dispatch": "pull", "profiles": {"large": "tasks-large"}}, "profiles cannot be used with dispatch='pull'"),
        ({"pull_tasks": 0}, "pull_tasks is 0"),
        ({"endpoint": "run.example:443"}, "it must be the address of an emulator on this machine"),
    ],
)
def test_what_cannot_work_is_refused_with_the_name_of_the_field(settings: dict[str, Any], advice: str) -> None:
    values: dict[str, Any] = {"project_id": "shop", **settings}

    with pytest.raises(ConfigurationError, match=advice):
        CloudRunExecutionConfig(**values)


def test_a_timedelta_is_kept_as_its_seconds() -> None:
    settings = CloudRunExecutionConfig("shop", timeout=timedelta(minutes=5), poll_interval=timedelta(seconds=1.5))

    assert (settings.timeout, settings.poll_interval) == (300, 1.5)
    with pytest.raises(ConfigurationError, match=r"timeout is datetime\.timedelta.*; it must be a whole number of sec"):
        CloudRunExecutionConfig("shop", timeout=timedelta(seconds=1.5))


@pytest.mark.parametrize("job", ["j", "reports-2", "projects/shop.example:old/locations/us-east4/jobs/gpu"])
def test_a_job_may_be_named_in_short_or_in_full(job: str) -> None:
    config = CloudRunExecutionConfig("shop.example:old", job_name=job, timeout=604_800, pull_tasks=10_000)

    assert config.job_name == job


def test_without_a_configuration_the_backend_says_where_it_belongs() -> None:
    with pytest.raises(ConfigurationError, match="QueueConfig\\(execution_backends"):
        _ = CloudRunExecutionBackend().execution_config


@pytest.mark.parametrize("dispatch", ["each", "pull"])
async def test_a_queue_that_containers_cannot_reach_is_refused_with_advice(dispatch: Literal["each", "pull"]) -> None:
    config = CloudRunExecutionConfig("shop", job_name="tasks", dispatch=dispatch, fallback_execution_backend=None)
    async with QueueService(QueueConfig(queue_backend="memory", execution_backend=config)) as service:
        with pytest.raises(ConfigurationError, match=r"in the memory of one process.*lq-postgres, or a SQLiteConfig"):
            await Worker(service).run()


async def request(config: CloudRunExecutionConfig, **options: Any) -> dict[str, Any]:
    queue = QueueConfig(execution_backend=config)
    async with QueueService(queue, queue_backend=InMemoryQueueBackend(queue)) as service:
        sent = await service.enqueue(shop.add.using(**options), 1, second=2)
        return CloudRunExecutionBackend(queue, execution_config=config).build_run_job_request(service, sent.record)


@pytest.mark.parametrize("timeout, limit", [(None, "300s"), (0.2, "11s"), (7.01, "18s"), (10**9, "604800s")], ids=str)
async def test_the_limit_of_an_execution_leaves_the_task_its_time(timeout: float | None, limit: str) -> None:
    built = await request(CloudRunExecutionConfig("shop", job_name="tasks", startup_margin=10), timeout=timeout)

    assert built["overrides"]["timeout"] == limit


async def test_a_profile_may_name_a_job_elsewhere() -> None:
    full = "projects/other/locations/us-east4/jobs/gpu"
    config = CloudRunExecutionConfig("shop", profiles={"gpu": full}, containers={"gpu": "main"})

    built = await request(config, execution_profile="gpu")

    assert built["name"] == full
    assert built["overrides"]["container_overrides"][0]["name"] == "main"


@pytest.mark.parametrize("profile, advice", [(None, "there is no default job"), ("larg", "Did you mean 'large'")])
async def test_a_profile_that_is_not_there_is_an_error_with_advice(profile: str | None, advice: str) -> None:
    with pytest.raises(UnknownProfileError, match=advice):
        await request(CloudRunExecutionConfig("shop", profiles={"large": "tasks-large"}), execution_profile=profile)
