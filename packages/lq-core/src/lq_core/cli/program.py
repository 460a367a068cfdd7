"""The program ``lq``: the commands, with the options that name the configuration."""

from typing import Final

import click

from lq_core.cli.commands import every, queue_commands
from lq_core.cli.configuration import CONFIG_VARIABLE, load_config, named_config
from lq_core.cli.options import Group, takes_config
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError


def _read() -> QueueConfig:
    target = named_config()
    found = load_config(target) if target else QueueConfig()
    if isinstance(found, QueueConfig):
        return found
    raise ConfigurationError(
        f"{target} is of type {type(found).__name__}; it must be a QueueConfig, or a function that makes one."
    )


def _program() -> click.Group:
    program = Group(
        name="lq",
        help="Run and manage durable background tasks.",
        epilog=(
            f"Start with: lq worker shop:config. Every command takes MODULE:CONFIG as its first argument, with -c, or "
            f"from the variable {CONFIG_VARIABLE}; without one, records are in lq.db in this folder. "
            "Exit codes: 0 success, 1 error, 2 wrong usage, 130 interrupted."
        ),
        commands={str(command.name): command for command in queue_commands(_read)},
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for command in every(program):
        takes_config(command)
    return click.version_option(package_name="lq-core", prog_name="lq")(program)


main: Final = _program()
"""The command ``lq``."""
