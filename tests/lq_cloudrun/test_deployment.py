"""What ``lq-cloudrun gcloud`` and ``lq-cloudrun terraform`` print deploys a system that runs records."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

import container_tasks as shop
from cloud.emulated import SUPPORT
from cloud.printed import Printed, PrintedContainer, commands_of, declared_in, deployed_by, resources_of
from lq_cloudrun import CloudRunExecutionConfig
from lq_cloudrun.cli import main
from lq_cloudrun.emulator import EmulatedJob, Emulator
from lq_core import QueueConfig, QueueService, Worker

CONFIG: Final = """
from lq_cloudrun import CloudRunExecutionConfig
cloud = CloudRunExecutionConfig("shop-1", region="europe-west1", {settings})
"""
ELSEWHERE: Final = "projects/shop-1/locations/us-central1/jobs/reports"
PROFILES: Final = f'job_name="reports", profiles={{"large": "reports-large", "gpu": "{ELSEWHERE}"}}'
ODD: Final = "a|b,c^ \"d\" 'e' ${f} %{g} \\h $(i) `j`\n"
EVERYTHING: Final = (
    *("--env", "LQ_CONFIG=shop.queue:config", "--env", f"ODD={ODD}", "--secret", "TOKEN=api-token"),
    *("--secret", "OLD=api-token:3", "--size", "1:1Gi", "--size", "large=4:16Gi", "--size", "gpu=8:32Gi:nvidia-l4"),
    *("--cloud-sql", "shop-1:europe-west1:main", "--alloydb", "shop-1:europe-west1:fast", "--network", "default"),
    *("--instances", "2"),
)
Read = Callable[[str], dict[str, Printed]]
BOTH: Final = pytest.mark.parametrize("command, read", [("gcloud", deployed_by), ("terraform", declared_in)])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(
    folder: Path, command: str, *words: str, settings: str = PROFILES, config: str = CONFIG, fails: bool = False
) -> str:
    name = f"deployed_{folder.name}"
    (folder / f"{name}.py").write_text(config.format(settings=settings))
    result = CliRunner().invoke(main, [command, f"{name}:cloud", *words])
    assert bool(result.exit_code) == fails, result.output
    return result.output


def test_both_define_the_same(tmp_path: Path) -> None:
    script, resources = (printed(tmp_path, command, *EVERYTHING) for command in ("gcloud", "terraform"))

    assert deployed_by(script) == declared_in(resources)


@BOTH
def test_every_job_gets_its_size_its_account_and_its_variables(tmp_path: Path, command: str, read: Read) -> None:
    jobs = read(printed(tmp_path, command, *EVERYTHING))
    large = jobs["projects/shop-1/locations/europe-west1/jobs/reports-large"]

    assert large == Printed(
        name="projects/shop-1/locations/europe-west1/jobs/reports-large",
        account="lq-job@shop-1.iam.gserviceaccount.com",
        timeout="300s",
        cloud_sql="shop-1:europe-west1:main",
        network="default",
        containers=(
            PrintedContainer(
                image="europe-west1-docker.pkg.dev/shop-1/lq/tasks:latest",
                cpu="4",
                memory="16Gi",
                env={"LQ_CONFIG": "shop.queue:config", "ODD": ODD},
                secrets={"TOKEN": "api-token:latest", "OLD": "api-token:3"},
            ),
        ),
    )
    gpu = jobs["projects/shop-1/locations/us-central1/jobs/reports"].containers[0]
    assert (gpu.cpu, gpu.memory, gpu.gpu) == ("8", "32Gi", "nvidia-l4")


@BOTH
def test_one_job_name_in_two_regions_makes_two_jobs(tmp_path: Path, command: str, read: Read) -> None:
    names = {name for name in read(printed(tmp_path, command)) if name.endswith("/jobs/reports")}

    assert names == {f"projects/shop-1/locations/{region}/jobs/reports" for region in ("europe-west1", "us-central1")}


@BOTH
def test_the_worker_pool_runs_workers_with_an_account_of_their_own(tmp_path: Path, command: str, read: Read) -> None:
    pool = read(printed(tmp_path, command, *EVERYTHING))["projects/shop-1/locations/europe-west1/workerPools/lq-worker"]

    assert (pool.instances, pool.account) == (2, "lq-worker@shop-1.iam.gserviceaccount.com")
    assert pool.containers[0].image == "europe-west1-docker.pkg.dev/shop-1/lq/worker:latest"
    assert pool.containers[0].command == ("lq", "worker")


@BOTH
def test_each_account_signs_in_to_the_database_as_itself(tmp_path: Path, command: str, read: Read) -> None:
    words = ("--cloud-sql", "shop-1:europe-west1:main", "--database", "shop", "--instances", "1")
    found = read(printed(tmp_path, command, *words, settings='job_name="reports"')).values()

    assert {each.containers[0].env["LQ_POSTGRES_DSN"] for each in found} == {
        f"postgresql://lq-{who}%40shop-1.iam@/shop?host=/cloudsql/shop-1:europe-west1:main" for who in ("job", "worker")
    }


@BOTH
def test_without_instances_there_is_no_pool(tmp_path: Path, command: str, read: Read) -> None:
    assert [name for name in read(printed(tmp_path, command)) if "workerPools" in name] == []


@BOTH
def test_a_job_in_pull_mode_gets_its_containers_and_their_time(tmp_path: Path, command: str, read: Read) -> None:
    [job] = read(printed(tmp_path, command, settings='job_name="reports", dispatch="pull"')).values()

    assert (job.tasks, job.timeout, job.max_retries) == (10, "1020s", 0)


@BOTH
def test_each_container_that_the_configuration_names_gets_the_image(tmp_path: Path, command: str, read: Read) -> None:
    settings = 'job_name="reports", profiles={"b": "reports"}, container="main", containers={"b": "web"}'
    [job] = read(printed(tmp_path, command, "--env", "LEVEL=7", settings=settings)).values()

    assert [(each.name, each.env) for each in job.containers] == [("main", {"LEVEL": "7"}), ("web", {"LEVEL": "7"})]


def granted(script: str, member: str) -> set[tuple[str, str]]:
    """Return the pairs of resource and role that a script grants to an account."""
    found: set[tuple[str, str]] = set()
    for words in commands_of(script):
        if f"--member=serviceAccount:{member}" in words:
            verb = words.index("add-iam-policy-binding")
            [role] = [word.removeprefix("--role=") for word in words if word.startswith("--role=")]
            found.add((f"{words[verb - 1]} {words[verb + 1]}", role))
    return found


def test_accounts_get_the_least_rights(tmp_path: Path) -> None:
    settings = 'job_name="reports"'
    words = ("--cloud-sql", "shop-1:europe-west1:main", "--secret", "TOKEN=api-token")
    script = printed(tmp_path, "gcloud", *words, settings=settings)
    database = {("projects shop-1", "roles/cloudsql.client"), ("projects shop-1", "roles/cloudsql.instanceUser")}
    secret = {("secrets api-token", "roles/secretmanager.secretAccessor")}
    on_job = {("jobs reports", "roles/run.jobsExecutorWithOverrides"), ("jobs reports", "roles/run.viewer")}

    assert granted(script, "lq-job@shop-1.iam.gserviceaccount.com") == database | secret
    assert granted(script, "lq-worker@shop-1.iam.gserviceaccount.com") == database | secret | on_job


def test_terraform_grants_the_same_rights(tmp_path: Path) -> None:
    resources = resources_of(printed(tmp_path, "terraform", *EVERYTHING))
    script = printed(tmp_path, "gcloud", *EVERYTHING)
    roles = [body["role"] for address, body in resources.items() if "iam_member" in address]
    accounts = ("lq-job@shop-1.iam.gserviceaccount.com", "lq-worker@shop-1.iam.gserviceaccount.com")
    # One job name exists in two regions, and a script grants a role on each.
    expected = [role for words in commands_of(script) for role in words if role.startswith("--role=")]

    assert len(roles) == len(expected)
    assert {role for role in roles if role.startswith("roles/")} == {
        role for account in accounts for _, role in granted(script, account) if role.startswith("roles/")
    }


def test_existing_accounts_and_images_are_used(tmp_path: Path) -> None:
    words = ("--dispatcher", "web@shop-1.iam.gserviceaccount.com", "--image", "registry/tasks:7")
    script = printed(tmp_path, "gcloud", *words)

    assert ("jobs reports", "roles/run.viewer") in granted(script, "web@shop-1.iam.gserviceaccount.com")
    assert [word for command in commands_of(script) for word in command if "lq-worker" in word] == []
    assert {each.image for job in deployed_by(script).values() for each in job.containers} == {"registry/tasks:7"}


@BOTH
def test_a_project_of_a_domain_has_its_own_addresses(tmp_path: Path, command: str, read: Read) -> None:
    settings = 'job_name="reports"'
    text = printed(tmp_path, command, settings=settings, config=CONFIG.replace("shop-1", "example.com:shop"))

    [job] = read(text).values()
    assert {each.image for each in job.containers} == {"europe-west1-docker.pkg.dev/example.com/shop/lq/tasks:latest"}
    # Terraform makes the addresses of its accounts itself.
    assert command == "terraform" or "lq-job@shop.example.com.iam.gserviceaccount.com" in text


def test_the_shell_and_gcloud_read_every_word(tmp_path: Path) -> None:
    script = tmp_path / "deploy.sh"
    script.write_text(printed(tmp_path, "gcloud", *EVERYTHING))
    calls = tmp_path / "calls"
    program = tmp_path / "gcloud"
    # It finds nothing, so that the script creates everything.
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\nopen({str(calls)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "sys.exit('describe' in sys.argv)\n"
    )
    program.chmod(0o755)
    subprocess.run(["sh", str(script)], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    called = [json.loads(line) for line in calls.read_text().splitlines()]

    assert called == [
        command[1:] for command in commands_of(script.read_text()) if command[1:4] != ["iam", "roles", "update"]
    ]


@BOTH
async def test_a_job_made_from_the_printed_definition_runs_a_record(
    queue: QueueConfig, address: str, tmp_path: Path, command: str, read: Read
) -> None:
    given = {"LQ_CONFIG": "container_tasks:queue_config", "LITESTAR_QUEUES_TASK_MODULES": "container_tasks"}
    words = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    settings = 'job_name="reports"'
    [job] = read(printed(tmp_path, command, *words, "--secret", "SHOP_QUEUE=address", settings=settings)).values()
    [container] = job.containers
    secrets = dict.fromkeys(container.secrets, address)
    emulated = EmulatedJob(
        name=job.name.rpartition("/")[2],
        command=[sys.executable, "-m", "lq_cloudrun"],  # the entry point of the image
        env={**container.env, **secrets, "PYTHONPATH": str(SUPPORT)},
        timeout=float(job.timeout.removesuffix("s")),
        max_retries=job.max_retries,
        task_count=job.tasks,
    )
    async with Emulator([emulated], project="shop-1", region="europe-west1") as emulator:
        cloud = CloudRunExecutionConfig(
            "shop-1",
            region="europe-west1",
            job_name="reports",
            endpoint=emulator.address,
            fallback_execution_backend=None,
        )
        async with QueueService(replace(queue, execution_backend=cloud)) as service, Worker(service):
            sent = await service.enqueue(shop.add, 1, second=2)

            assert await sent.wait(timeout=60) == 3


@pytest.mark.parametrize(
    "words, complaint",
    [
        (("--size", "big=4:16Gi"), "There is no profile 'big' to give a size to. There are: gpu, large, worker."),
        (("--size", "large=4"), "The size '4' is not CPU:MEMORY"),
        (("--cloud-sql", "main"), "--cloud-sql 'main' is not of the form PROJECT:REGION:NAME."),
        (("--database", "shop"), "--database 'shop' needs --cloud-sql."),
        (("--subnet", "inner"), "--subnet 'inner' needs --network."),
        (("--secret", "TOKEN"), "'TOKEN' is not of the form NAME=SECRET."),
        (("--secret", "TOKEN="), "--secret TOKEN= does not name a secret of the project"),
        (("--secret", "TOKEN=projects/1/secrets/token"), "does not name a secret of the project: write SECRET or"),
        (("--secret", "TOKEN=token", "--env", "TOKEN=1"), "TOKEN is set by --env and by --secret; choose one."),
        (("--env", "PORT=80"), "PORT is a name that Cloud Run reserves"),
        (("--size", "4:16"), "The size '4:16' is not CPU:MEMORY"),
        (("--size", "large:4:16Gi"), "The size 'large:4:16Gi' is not CPU:MEMORY"),
        (("--name", "My_App"), "--name 'My_App' cannot be a part of the names of accounts"),
        (("--name", "a-name-of-twenty-four-ch"), "use 2 to 23 small letters, digits and dashes"),
        (("--dispatcher", "me"), "--dispatcher 'me' is not the e-mail address of an account."),
    ],
)
def test_what_cannot_be_deployed_is_refused_with_the_way(
    tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    assert complaint in printed(tmp_path, "gcloud", *words, fails=True)
