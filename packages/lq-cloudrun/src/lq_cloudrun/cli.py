"""The command ``lq-cloudrun``; it comes with the extra ``cli``, and each of its commands loads only what it needs."""

import asyncio
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.definitions import Wanted
from lq_cloudrun.definitions import gcloud as gcloud_definitions
from lq_cloudrun.definitions import terraform as terraform_definitions
from lq_cloudrun.doctor import Health, examine
from lq_cloudrun.loading import load
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError

Command = TypeVar("Command", bound=Callable[..., Any])

_MARKS = {Health.WELL: "ok     ", Health.DOUBT: "warning", Health.ILL: "error  "}


def _with_config(command: Command) -> Command:
    return click.option(
        "-c",
        "--config",
        "path",
        required=True,
        envvar="LITESTAR_QUEUES_CONFIG",
        metavar="MODULE:ATTRIBUTE",
        help="A QueueConfig or a CloudRunExecutionConfig; else LITESTAR_QUEUES_CONFIG names it.",
    )(command)


def _with_jobs(command: Command) -> Command:
    for option in (
        click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set in the containers."),
        click.option("--dispatcher", required=True, metavar="EMAIL", help="The service account of the workers."),
        click.option("--image", required=True, help="The image of the jobs."),
    ):
        command = option(command)
    return _with_config(command)


@click.group()
@click.version_option(package_name="lq-cloudrun")
def main() -> None:
    """Work with Cloud Run Jobs for lq."""


@main.command()
@click.option("--job", "jobs", multiple=True, required=True, metavar="NAME=COMMAND", help="A job and what it runs.")
@click.option("--port", type=click.IntRange(0, 65535), default=8085, show_default=True, help="0 for any free one.")
@click.option("--project", default="emulated", show_default=True, help="The id of the emulated project.")
@click.option("--region", default="us-central1", show_default=True, help="The emulated region.")
@click.option("--env", "variables", multiple=True, metavar="NAME=VALUE", help="Set in the environment of all jobs.")
@click.option("--max-retries", type=click.IntRange(0, 10), default=3, show_default=True, help="As Cloud Run has it.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True, help="Seconds.")
@click.option("--start-delay", type=click.FloatRange(0), default=0.0, show_default=True, help="Seconds.")
@click.option(
    "--log-directory", type=click.Path(path_type=Path, file_okay=False), help="Keep what the jobs print here."
)
def emulator(
    *,
    jobs: Sequence[str],
    port: int,
    project: str,
    region: str,
    variables: Sequence[str],
    max_retries: int,
    timeout: float,
    start_delay: float,
    log_directory: Path | None,
) -> None:
    """
    Emulate Cloud Run Jobs on this machine until Ctrl-C.

    Jobs run as local processes, with nothing in their environment but what is given here and by the caller.
    """
    try:
        from lq_cloudrun.emulator.serving import serve  # noqa: PLC0415 -- the other commands do without it
    except ImportError as error:
        raise click.ClickException(str(error)) from error
    pairs = [_pair(job, "--job", "NAME=COMMAND") for job in jobs]
    commands = {name: _words(command) for name, command in pairs}
    if len(commands) < len(pairs):
        msg = f"Two jobs have the same name: {', '.join(sorted(name for name, _ in pairs))}."
        raise click.UsageError(msg)
    env = dict(_pair(variable, "--env", "NAME=VALUE") for variable in variables)
    try:
        serve(
            commands,
            env=env,
            max_retries=max_retries,
            timeout=timeout,
            start_delay=start_delay,
            project=project,
            region=region,
            port=port,
            log_directory=log_directory,
            say=click.echo,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@_with_config
def doctor(*, path: str) -> None:
    """Look at the jobs of a configuration, and say what to mend; exit code 1 when something is ill."""
    found = asyncio.run(_examine(_config(path)))
    if Health.ILL in found:
        sys.exit(1)


@main.command()
@_with_jobs
def gcloud(*, path: str, image: str, dispatcher: str, variables: Sequence[str]) -> None:
    """Print the gcloud commands that make the jobs of a configuration, and let the workers run them."""
    _define(gcloud_definitions, path, _wanted(image, dispatcher, variables))


@main.command()
@_with_jobs
def terraform(*, path: str, image: str, dispatcher: str, variables: Sequence[str]) -> None:
    """Print the same as Terraform resources."""
    _define(terraform_definitions, path, _wanted(image, dispatcher, variables))


def _define(write: Callable[[CloudRunExecutionConfig, Wanted], str], path: str, wanted: Wanted) -> None:
    try:
        click.echo(write(_config(path), wanted))
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


async def _examine(config: CloudRunExecutionConfig) -> list[Health]:
    found: list[Health] = []
    async for finding in examine(config):
        found.append(finding.health)
        click.echo(f"{_MARKS[finding.health]}  {finding.what}")
        if finding.remedy:
            click.echo("".join(f"           {line}\n" for line in finding.remedy.splitlines()), nl=False)
    return found


def _config(path: str) -> CloudRunExecutionConfig:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found = load(path, "--config")
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    settings = (found.execution_backend, *found.execution_backends) if isinstance(found, QueueConfig) else (found,)
    for each in settings:
        if isinstance(each, CloudRunExecutionConfig):
            return each
    msg = f"{path} leads to a {type(found).__name__}, which has no CloudRunExecutionConfig."
    raise click.ClickException(msg)


def _wanted(image: str, dispatcher: str, variables: Sequence[str]) -> Wanted:
    env = dict(_pair(variable, "--env", "NAME=VALUE") for variable in variables)
    return Wanted(image=image, dispatcher=dispatcher, env=env)


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
