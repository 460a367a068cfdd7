"""The command ``lq-cloudrun``, from the extra ``cli``. Each subcommand imports only what it needs."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from lq_cloudrun.backend import CloudRunExecutionBackend
from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.google.refusal import code_of, line_of
from lq_cloudrun.pools.running import run_scaler
from lq_cloudrun.pools.scaler import PoolScaling
from lq_cloudrun.setup.deployment import Deployment, Size
from lq_cloudrun.setup.gcloud import gcloud as write_gcloud
from lq_cloudrun.setup.terraform import terraform as write_terraform
from lq_core.cli.configuration import CONFIG_VARIABLE, load_config, named_config
from lq_core.cli.doctor import report
from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Group, json_option, takes_config
from lq_core.cli.output import Failure, echo
from lq_core.cli.session import short_errors
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError
from lq_core.queue import Finding
from lq_core.service import QueueService

_with_env = click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for all jobs. You can repeat it."
)
DEPLOYED: Final = "--cloud-sql shop:europe-west1:main --env LQ_CONFIG=shop.queue:config --instances 1"

_DEPLOYMENT: Final = (
    click.option("--image", help="The image of the jobs. By default: tasks:latest in the repository."),
    click.option("--worker-image", help="The image of the worker pool. By default: worker:latest in the repository."),
    click.option("--dispatcher", metavar="EMAIL", help="The service account of the workers, if there is one already."),
    click.option("--name", default="lq", show_default=True, help="The prefix of all names that are created."),
    _with_env,
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="NAME=SECRET[:VERSION]",
        help="A variable with the value of a secret. You can repeat it.",
    ),
    click.option(
        "--size",
        "sizes",
        multiple=True,
        metavar="[PROFILE=]CPU:MEMORY[:GPU]",
        help="The size of the default job, of a profile, or of worker=…. You can repeat it.",
    ),
    click.option("--cloud-sql", metavar="PROJECT:REGION:INSTANCE", help="The Cloud SQL instance of the queue."),
    click.option("--database", help="The database in it: sets LQ_POSTGRES_DSN, with the user of each account."),
    click.option("--alloydb", metavar="PROJECT:REGION:CLUSTER", help="The AlloyDB cluster of the queue."),
    click.option("--network", help="The VPC network of the database."),
    click.option("--subnet", help="The subnet in the network. By default, it has the name of the network."),
    click.option("--instances", type=click.IntRange(0), help="Print a worker pool too, with this many instances."),
)


@click.group(cls=Group)
@click.version_option(package_name="lq-cloudrun")
def main() -> None:
    """Work with Cloud Run Jobs for lq."""


def _deploys(command: Callable[..., None]) -> click.Command:
    """Make a command with the options of a deployment."""
    for option in reversed(_DEPLOYMENT):
        command = option(command)
    return main.command(examples=(DEPLOYED,))(command)


@main.command(examples=('--job "reports=python -m lq_cloudrun" --env LQ_CONFIG=shop:config',))
@click.option(
    "--job", "jobs", multiple=True, required=True, metavar="NAME=COMMAND", help="A job and the command it runs."
)
@click.option("--port", type=click.IntRange(0, 65535), default=8085, show_default=True, help="0 for any free port.")
@click.option("--project", default="emulated", show_default=True, help="The id of the emulated project.")
@click.option("--region", default="us-central1", show_default=True, help="The emulated region.")
@_with_env
@click.option(
    "--max-retries", type=click.IntRange(0, 10), default=3, show_default=True, help="Restarts of a failed container."
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds.")
@click.option("--start-delay", type=click.FloatRange(0), default=0.0, show_default=True, help="Seconds.")
@click.option(
    "--log-directory", type=click.Path(path_type=Path, file_okay=False), help="Save the output of the jobs here."
)
def emulator(*, jobs: Sequence[str], variables: Sequence[str], **settings: Any) -> None:
    """
    Emulate Cloud Run Jobs on this machine until Ctrl-C.

    Jobs run as local processes. Their environment has only the variables from --env and from the caller.
    """
    try:
        from lq_cloudrun.emulator.serving import serve  # noqa: PLC0415 -- the other commands do not need it
    except ImportError as error:
        raise Failure(str(error)) from error
    pairs = [_pair(job, "--job", "NAME=COMMAND") for job in jobs]
    commands = {name: _words(command) for name, command in pairs}
    if len(commands) < len(pairs):
        msg = f"Two jobs have the same name: {', '.join(sorted(name for name, _ in pairs))}."
        raise click.UsageError(msg)
    try:
        serve(commands, env=_environment(variables), say=echo, **settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise Failure(str(error)) from error


@main.command(examples=("", "--json"))
@json_option("a JSON list")
def doctor(*, as_json: bool) -> None:
    """
    Check the jobs of a configuration.

    The command prints what to do about each problem. `lq doctor` reports the same, and checks the queue as well.
    Both exit with 1 if there is a warning.
    """
    config = _config()
    backend = CloudRunExecutionBackend(execution_config=config)

    async def diagnose() -> Sequence[Finding]:
        try:
            return await backend.diagnose(QueueService(QueueConfig(execution_backends=(config,))))
        finally:
            await backend.close()

    report(run_in_loop(diagnose()), subject="Cloud Run", as_json=as_json)


@_deploys
def gcloud(**options: Any) -> None:
    """
    Print a script of gcloud commands that creates or updates everything.

    It covers jobs, accounts with the least permissions, the image repository, the database, and a worker pool.
    """
    _print(write_gcloud, **options)


@_deploys
def terraform(**options: Any) -> None:
    """Print the same resources for Terraform."""
    _print(write_terraform, **options)


@main.command(examples=("--pool workers", "--pool workers --queue mail --max-instances 5 --once"))
@click.option("--pool", required=True, help="The worker pool: its name, or projects/…/locations/…/workerPools/….")
@click.option("--min-instances", type=click.IntRange(0), default=0, show_default=True, help="Never fewer.")
@click.option("--max-instances", type=click.IntRange(1), default=10, show_default=True, help="Never more.")
@click.option(
    "--target-wait",
    type=click.FloatRange(0, min_open=True),
    default=60.0,
    show_default=True,
    help="The seconds that a ready record may wait.",
)
@click.option("--concurrency", type=click.IntRange(1), help="The slots of one instance; by default as configured.")
@click.option("--queue", "queues", multiple=True, help="Count only this queue. You can repeat it.")
@click.option(
    "--scale-in-after",
    type=click.FloatRange(0),
    default=300.0,
    show_default=True,
    help="The seconds after a change of the pool in which no instance is removed.",
)
@click.option(
    "--interval", type=click.FloatRange(1), default=15.0, show_default=True, help="The seconds between two checks."
)
@click.option("--once", is_flag=True, help="Check once and exit, as in a job that Cloud Scheduler runs each minute.")
def scale(*, pool: str, queues: Sequence[str], interval: float, once: bool, **settings: Any) -> None:
    """
    Scale a worker pool by the demand of the queue.

    It runs until SIGINT or SIGTERM. It adds instances at once, and removes some when the queue needs fewer.
    """
    found = _found()
    cloud = _cloud_run(found)
    if not isinstance(found, QueueConfig):
        msg = "A scaler reads the queue: name a QueueConfig with a CloudRunExecutionConfig."
        raise Failure(msg)
    place = f"projects/{cloud.project_id}/locations/{cloud.region}/workerPools/"
    name = pool if pool.startswith("projects/") else place + pool
    with short_errors():
        scaling = PoolScaling(pool=name, queues=tuple(queues) or None, rpc_timeout=cloud.rpc_timeout, **settings)
        try:
            run_in_loop(run_scaler(found, scaling, cloud=cloud, interval=None if once else interval, say=echo))
        except Exception as error:
            if not code_of(error):
                raise
            msg = (
                f"The pool could not be scaled: {line_of(error)} `lq-cloudrun gcloud --instances 1` prints the "
                "commands that create a pool, and let the account of the workers scale it."
            )
            raise Failure(msg) from error


def _print(
    write: Callable[[CloudRunExecutionConfig, Deployment], str],
    *,
    variables: Sequence[str],
    secrets: Sequence[str],
    sizes: Sequence[str],
    **chosen: Any,
) -> None:
    try:
        deployment = Deployment(
            env=_environment(variables),
            secrets=dict(_pair(secret, "--secret", "NAME=SECRET") for secret in secrets),
            sizes=dict(_size(size) for size in sizes),
            **chosen,
        )
        echo(write(_config(), deployment))
    except ConfigurationError as error:
        raise Failure(str(error)) from error


def _size(text: str) -> tuple[str | None, Size]:
    profile, equals, size = text.rpartition("=")
    return profile if equals else None, Size.of(size)


def _found() -> object:
    path = named_config()
    if path is None:
        msg = f"Missing argument 'MODULE:CONFIG'. Name a configuration, or set {CONFIG_VARIABLE}."
        raise click.UsageError(msg)
    try:
        return load_config(path)
    except ConfigurationError as error:
        raise Failure(str(error)) from error


def _config() -> CloudRunExecutionConfig:
    return _cloud_run(_found())


def _cloud_run(found: object) -> CloudRunExecutionConfig:
    config = CloudRunExecutionConfig.of(found) if isinstance(found, QueueConfig) else found
    if isinstance(config, CloudRunExecutionConfig):
        return config
    msg = f"{named_config()} leads to a {type(found).__name__}, which has no CloudRunExecutionConfig."
    raise Failure(msg)


def _environment(variables: Sequence[str]) -> dict[str, str]:
    return dict(_pair(variable, "--env", "NAME=VALUE") for variable in variables)


def _pair(text: str, option: str, shape: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        msg = f"{text!r} is not of the form {shape}."
        raise click.BadParameter(msg, param_hint=option)
    return name, value


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        msg = f"The command {command!r} cannot be read: {error}."
        raise click.BadParameter(msg, param_hint="--job") from error


for each in (doctor, gcloud, terraform, scale):
    takes_config(each)
