"""The rules of the service that the emulator enforces, through Google's own clients."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import pytest
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from google.cloud.run_v2 import ExecutionsAsyncClient, JobsAsyncClient, TasksAsyncClient
from google.cloud.run_v2 import types as run
from google.cloud.run_v2.services.executions.transports import ExecutionsGrpcAsyncIOTransport
from google.cloud.run_v2.services.jobs.transports import JobsGrpcAsyncIOTransport
from google.cloud.run_v2.services.tasks.transports import TasksGrpcAsyncIOTransport
from grpc import aio

from lq_cloudrun.emulator import EmulatedJob, Emulator, Limits, Phase

NOTHING: Final[dict[str, Any]] = {}


class Sky(NamedTuple):
    """An emulator, and Google's whole clients."""

    emulator: Emulator
    jobs: Any
    executions: Any
    tasks: Any

    async def run(self, *, env: dict[str, str] | None = None, **fields: Any) -> str:
        """Run the job, and return the name of the execution."""
        overrides = {"container_overrides": [{"env": [{"name": n, "value": v} for n, v in (env or {}).items()]}]}
        request = {"name": self.emulator.job_name("reports"), "overrides": overrides, **fields}
        return (await self.jobs.run_job(request=request, timeout=10)).metadata.name


@asynccontextmanager
async def a_sky(*, limits: Limits | None = None, **job: Any) -> AsyncGenerator[Sky]:
    settings: dict[str, Any] = {"name": "reports", "command": ["true"], "max_retries": 0, **job}
    jobs = [EmulatedJob(**settings)]
    async with Emulator(jobs, limits=limits or Limits()) as emulator, aio.insecure_channel(emulator.address) as channel:
        yield Sky(
            emulator,
            JobsAsyncClient(transport=JobsGrpcAsyncIOTransport(channel=channel)),
            ExecutionsAsyncClient(transport=ExecutionsGrpcAsyncIOTransport(channel=channel)),
            TasksAsyncClient(transport=TasksGrpcAsyncIOTransport(channel=channel)),
        )


async def test_calls_beyond_the_quota_are_refused_and_start_nothing() -> None:
    async with a_sky(limits=Limits(runs_per_minute=2)) as sky:
        await sky.run()
        await sky.run()
        with pytest.raises(ResourceExhausted, match="Quota exceeded"):
            await sky.run()

        assert len(sky.emulator.executions()) == 2


async def test_more_executions_than_a_region_allows_do_not_run_at_once() -> None:
    async with a_sky(limits=Limits(running_executions=1)) as sky:
        with sky.emulator.faults.hold_starts("reports") as hold:
            first = await sky.run()
            with pytest.raises(ResourceExhausted, match="1 executions run"):
                await sky.run()
            hold.release()
            await sky.emulator.wait_until_over(first)
        await sky.emulator.wait_until_over(await sky.run())


async def test_old_executions_beyond_the_newest_are_not_kept() -> None:
    async with a_sky(limits=Limits(kept_executions=1, kept_seconds=0)) as sky:
        names = [await sky.run() for _ in range(3)]
        for name in names:
            await sky.emulator.wait_until_over(name)
        listed = [each.name async for each in await sky.executions.list_executions(parent=parent(sky), timeout=5)]

        assert len(listed) == 1
        [gone, *_] = [name for name in names if name not in listed]
        with pytest.raises(NotFound):
            await sky.executions.get_execution(name=gone, timeout=5)


async def test_young_executions_are_kept_however_many_there_are() -> None:
    async with a_sky(limits=Limits(kept_executions=0)) as sky:
        await sky.emulator.wait_until_over(await sky.run())
        await sky.emulator.wait_until_over(await sky.run())
        listed = [each.name async for each in await sky.executions.list_executions(parent=parent(sky), timeout=5)]

        assert len(listed) == 2


def parent(sky: Sky) -> str:
    return sky.emulator.job_name("reports")


@pytest.mark.parametrize(
    "overrides, complaint",
    [
        ({"timeout": "0.5s"}, "whole seconds"),
        ({"timeout": "604801s"}, "whole seconds"),
        ({"task_count": 10_001}, "The task count"),
        ({"container_overrides": [NOTHING, NOTHING]}, "two overrides"),
        ({"container_overrides": [{"name": "other"}]}, "no container 'other'"),
        ({"container_overrides": [{"args": ["x"] * 1_001}]}, "1000 arguments"),
    ],
)
async def test_an_override_that_cloud_run_refuses_is_refused(overrides: dict[str, Any], complaint: str) -> None:
    async with a_sky() as sky:
        with pytest.raises(InvalidArgument, match=complaint):
            await sky.run(overrides=overrides)

        assert sky.emulator.executions() == []


async def test_an_override_of_a_sidecar_is_shown_and_does_not_reach_the_container() -> None:
    async with a_sky(command=["env"], container="main", sidecars=["proxy"]) as sky:
        overrides = [{"name": "main"}, {"name": "proxy", "env": [{"name": "LEVEL", "value": "7"}]}]
        name = await sky.run(overrides={"container_overrides": overrides})
        shown = await sky.emulator.wait_until_over(name)

        assert [[each.value for each in container.env] for container in shown.template.containers] == [[], ["7"]]
        assert "LEVEL" not in sky.emulator.output(name)


async def test_an_etag_of_another_version_is_refused() -> None:
    async with a_sky() as sky:
        with sky.emulator.faults.hold_starts("reports"):
            job = await sky.jobs.get_job(name=parent(sky), timeout=5)
            name = await sky.run(etag=job.etag)
            with pytest.raises(Aborted):
                await sky.run(etag='"another"')
            for call in (sky.executions.cancel_execution, sky.executions.delete_execution):
                with pytest.raises(Aborted):
                    await call(request={"name": name, "etag": '"another"'}, timeout=5)
            for call in (sky.jobs.update_job, sky.jobs.delete_job):
                request = {"name": parent(sky), "etag": '"another"'}
                with pytest.raises(Aborted):
                    await call(request={"job": request} if call == sky.jobs.update_job else request, timeout=5)
            await sky.executions.cancel_execution(
                request={"name": name, "etag": sky.emulator.execution(name).etag}, timeout=5
            )


@pytest.mark.parametrize("size, expected", [(0, 100), (2, 2), (5_000, 1_000)])
async def test_a_page_has_as_many_items_as_the_service_allows(size: int, expected: int) -> None:
    limits = Limits(runs_per_minute=2_000, running_executions=2_000)
    async with a_sky(limits=limits) as sky:
        with sky.emulator.faults.hold_starts("reports"):
            for _ in range(1_001 if size > 1_000 else 101):
                await sky.run()
            request = {"parent": parent(sky), "page_size": size}
            page = await sky.executions.list_executions(request=request, timeout=20)

            assert len(page.executions) == expected


async def test_a_negative_page_size_is_refused() -> None:
    async with a_sky() as sky:
        with pytest.raises(InvalidArgument, match="cannot be negative"):
            await sky.executions.list_executions(request={"parent": parent(sky), "page_size": -1}, timeout=5)


async def test_an_answer_of_more_than_4_mib_does_not_reach_a_default_channel() -> None:
    async with a_sky() as sky:
        with sky.emulator.faults.hold_starts("reports"):
            for _ in range(5):
                await sky.run(env={f"LARGE_{number}": "x" * 32_000 for number in range(30)})
            with pytest.raises(ResourceExhausted, match="CLIENT: Received message larger than max"):
                await sky.executions.list_executions(parent=parent(sky), timeout=5)


async def test_no_more_tasks_run_at_once_than_parallelism() -> None:
    async with a_sky(command=["sleep", "60"], task_count=3, parallelism=2) as sky:
        name = await sky.run()
        await sky.emulator.wait_until(lambda: sky.emulator.execution(name).running_count == 2)
        await sky.executions.cancel_execution(name=name, timeout=5)
        ended = await sky.emulator.wait_until_over(name)

        assert (ended.parallelism, ended.task_count, ended.cancelled_count) == (2, 3, 3)


async def test_a_name_may_have_the_number_of_the_project() -> None:
    async with a_sky() as sky:
        numbered = parent(sky).replace("projects/emulated/", "projects/123456789012/")
        name = (await sky.jobs.run_job(name=numbered, timeout=5)).metadata.name
        short = name.rpartition("/")[2]

        assert name.startswith("projects/emulated/")
        for found in (f"{numbered}/executions/{short}", f"{sky.emulator.job_name('-')}/executions/{short}"):
            assert (await sky.executions.get_execution(name=found, timeout=5)).name == name


async def test_a_permission_that_is_taken_away_refuses_the_call_and_its_test() -> None:
    async with a_sky() as sky:
        sky.emulator.faults.forbid("run.jobs.runWithOverrides", "run.executions.list")
        asked = ["run.jobs.run", "run.jobs.runWithOverrides"]
        answer = await sky.jobs.test_iam_permissions(request={"resource": parent(sky), "permissions": asked}, timeout=5)

        assert list(answer.permissions) == ["run.jobs.run"]
        with pytest.raises(PermissionDenied, match=r"run\.jobs\.runWithOverrides"):
            await sky.run()
        with pytest.raises(PermissionDenied):
            await sky.executions.list_executions(parent=parent(sky), timeout=5)
        await sky.jobs.run_job(name=parent(sky), timeout=5)


async def test_a_deleted_execution_ends_and_is_shown_only_with_the_deleted() -> None:
    async with a_sky(command=["sleep", "60"]) as sky:
        name = await sky.run()
        await sky.emulator.wait_for(name, Phase.RUNNING)
        await sky.executions.delete_execution(name=name, timeout=5)
        await sky.emulator.wait_until_over(name)

        with pytest.raises(NotFound):
            await sky.executions.get_execution(name=name, timeout=5)
        assert [each async for each in await sky.executions.list_executions(parent=parent(sky), timeout=5)] == []
        request = {"parent": parent(sky), "show_deleted": True}
        [deleted] = [each async for each in await sky.executions.list_executions(request=request, timeout=5)]
        assert deleted.delete_time is not None


async def test_tasks_are_listed_with_the_result_of_their_last_attempt() -> None:
    async with a_sky(command=["sh", "-c", "test $CLOUD_RUN_TASK_INDEX = 0 && exit 3; kill -9 $$"], task_count=2) as sky:
        name = await sky.run()
        await sky.emulator.wait_until_over(name)
        every = f"{sky.emulator.job_name('-')}/executions/-"
        for listed in (name, every):
            tasks = [each async for each in await sky.tasks.list_tasks(parent=listed, timeout=5)]
            results = [each.last_attempt_result for each in tasks]

            assert [(each.exit_code, each.term_signal) for each in results] == [(3, 0), (0, 9)]
            assert all(each.status.code for each in results)


def a_job(**fields: Any) -> run.Job:
    container = run.Container(image="registry/shop", command=["true"])
    return run.Job(template=run.ExecutionTemplate(template=run.TaskTemplate(containers=[container])), **fields)


async def test_a_job_is_created_changed_listed_and_deleted() -> None:
    async with a_sky() as sky:
        location = sky.emulator.location
        create = run.CreateJobRequest(parent=location, job_id="tasks", job=a_job())
        created = await (await sky.jobs.create_job(create, timeout=5)).result(timeout=5)
        with pytest.raises(AlreadyExists):
            await sky.jobs.create_job(create, timeout=5)
        created.template.task_count = 4
        changed = await (await sky.jobs.update_job(job=created, timeout=5)).result(timeout=5)
        with pytest.raises(Aborted):
            await sky.jobs.update_job(job=created, timeout=5)
        listed = [each.name async for each in await sky.jobs.list_jobs(parent=location, timeout=5)]
        await sky.jobs.delete_job(name=changed.name, timeout=5)

        assert (created.generation, changed.generation, changed.template.task_count) == (1, 2, 4)
        assert listed == [parent(sky), changed.name]
        with pytest.raises(NotFound):
            await sky.jobs.run_job(name=changed.name, timeout=5)


async def test_unset_fields_show_their_defaults() -> None:
    async with a_sky() as sky:
        create = run.CreateJobRequest(parent=sky.emulator.location, job_id="tasks", job=a_job())
        created = await (await sky.jobs.create_job(create, timeout=5)).result(timeout=5)
        task = created.template.template

        assert (created.uid != "", created.etag != "", created.create_time is not None) == (True, True, True)
        assert (task.max_retries, task.timeout.total_seconds(), created.template.task_count) == (3, 600, 1)
        assert dict(task.containers[0].resources.limits) == {"cpu": "1000m", "memory": "512Mi"}
        assert task.service_account


@pytest.mark.parametrize(
    "name, job, error",
    [
        ("1 a-b.c", a_job(), InvalidArgument),
        ("tasks", run.Job(), InvalidArgument),
    ],
)
async def test_a_job_that_cloud_run_refuses_is_refused(
    name: str, job: run.Job, error: type[GoogleAPICallError]
) -> None:
    async with a_sky() as sky:
        with pytest.raises(error):
            await sky.jobs.create_job(
                run.CreateJobRequest(parent=sky.emulator.location, job_id=name, job=job), timeout=5
            )


async def test_no_more_jobs_are_created_than_a_region_allows() -> None:
    async with a_sky(limits=Limits(jobs=1)) as sky:
        with pytest.raises(ResourceExhausted, match="1 jobs"):
            await sky.jobs.create_job(
                run.CreateJobRequest(parent=sky.emulator.location, job_id="tasks", job=a_job()), timeout=5
            )


async def test_what_has_ended_cannot_be_cancelled() -> None:
    async with a_sky() as sky:
        name = await sky.run()
        await sky.emulator.wait_until_over(name)
        with pytest.raises(FailedPrecondition):
            await sky.executions.cancel_execution(name=name, timeout=5)
