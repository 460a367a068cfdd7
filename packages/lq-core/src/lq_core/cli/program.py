"""The program ``lq``: the commands, with the options that say which configuration they are for."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import click

from lq_core.cli.commands import queue_commands
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.names import split_names
from lq_core.cli.session import TARGET
from lq_core.cli.target import load_config, look_in_working_directory
from lq_core.config import QueueConfig

MODULES: Final = "lq.modules"

WITH_TASKS: Final = {"run", "tasks", "worker"}
"""The commands that import the tasks. They, and all without arguments of their own, take the configuration as one."""


def _read() -> QueueConfig:
    meta = click.get_current_context().meta
    target: str | None = meta.get(TARGET)
    modules: Sequence[str] = meta.get(MODULES, ())
    config = load_config(target) if target else QueueConfig()
    if modules:
        look_in_working_directory()
    return replace(config, task_modules=(*config.task_modules, *modules))


def _keep_target(context: click.Context, parameter: click.Parameter, target: str | None) -> None:
    if target is None:
        context.meta.setdefault(TARGET, None)
        return
    typed = context.get_parameter_source("target_option") is click.core.ParameterSource.COMMANDLINE
    if isinstance(parameter, click.Argument) and typed:
        raise click.UsageError(f"The configuration is named twice: {context.meta[TARGET]} and {target}.", context)
    context.meta[TARGET] = target


def _keep_modules(context: click.Context, _: click.Parameter, modules: Sequence[str]) -> None:
    context.meta[MODULES] = split_names(modules)


def _target_argument() -> click.Argument:
    return click.Argument(
        ["target"], metavar="[MODULE:CONFIG]", required=False, expose_value=False, callback=_keep_target
    )


def _target_option() -> click.Option:
    return click.Option(
        ["-c", "--config", "target_option"],
        metavar="MODULE:CONFIG",
        envvar="LQ_CONFIG",
        show_envvar=True,
        expose_value=False,
        is_eager=True,
        callback=_keep_target,
        help="The QueueConfig of the application. Without it: QueueConfig(), records in lq.db right here.",
    )


def _modules_option() -> click.Option:
    return click.Option(
        ["-m", "--modules"],
        metavar="MODULE",
        multiple=True,
        expose_value=False,
        callback=_keep_modules,
        help="Modules that define tasks, besides those of the configuration; several with commas.",
    )


def _leaves(commands: Sequence[click.Command]) -> Iterator[click.Command]:
    for command in commands:
        if isinstance(command, click.Group):
            yield from _leaves(list(command.commands.values()))
        else:
            yield command


def _program() -> click.Group:
    commands = queue_commands(_read)
    for command in _leaves(commands):
        command.params.append(_target_option())
        has_arguments = any(isinstance(parameter, click.Argument) for parameter in command.params)
        if command.name in WITH_TASKS or not has_arguments:
            command.params.append(_target_argument())
        if command.name in WITH_TASKS:
            command.params.append(_modules_option())
            if isinstance(command, ExampleCommand):
                command.examples = [f"{example} module:config".lstrip() for example in command.examples]
    program = click.Group(
        name="lq",
        help="Run and look after durable background tasks.",
        epilog="Begin with: lq worker shop:config. Exit codes: 0 well, 1 an error that is told, 2 wrong usage.",
        commands={str(command.name): command for command in commands},
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    return click.version_option(package_name="lq-core", prog_name="lq")(program)


main: Final = _program()
"""The command ``lq``."""
