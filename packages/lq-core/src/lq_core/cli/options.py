"""The grammar of all commands: ``lq COMMAND [MODULE:CONFIG] ARGUMENTS --options``, and help with examples."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from lq_core.cli.configuration import (
    CONFIG_VARIABLE,
    keep_config,
    keep_typed_config,
    keep_typed_modules,
    typed_config,
)
from lq_core.cli.output import any_output, echo

Decorated = TypeVar("Decorated", bound=Callable[..., object])

_IMPORT_PATH: Final = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")


class Command(click.Command):
    """
    A command whose help ends with *examples*, each with the program and the groups that the command is in.

    If *names_config* is set, its first argument can be the configuration: any word if the command has no arguments of
    its own, otherwise a word of the form MODULE:CONFIG.
    """

    names_config = False

    def __init__(self, name: str | None, *, examples: Sequence[str], **settings: Any) -> None:
        super().__init__(name, **settings)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the configuration out of the arguments, and read the others."""
        if self.names_config and (place := self._place_of_config(args)) is not None:
            keep_config(ctx, args[place])
            args = [*args[:place], *args[place + 1 :]]
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            taken = typed_config(ctx) if self._has_arguments else None
            if taken and self.names_config:
                advice = f"{taken} names the configuration; put -- before a name with a colon."
                raise click.UsageError(f"{error.format_message()} {advice}", ctx) from error
            raise

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show where the configuration goes."""
        options, *arguments = super().collect_usage_pieces(ctx)
        return [options, *(["[MODULE:CONFIG]"] if self.names_config else []), *arguments]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        config = " module:config" if self.names_config else ""
        with formatter.section("Examples"):
            for number, example in enumerate(self.examples):
                words = f"{ctx.command_path}{config if number == 0 else ''} {example}"
                formatter.write(f"{'':>{formatter.current_indent}}{words}".rstrip() + "\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; it exits with 130 on Ctrl-C."""
        with any_output():
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                echo("Interrupted.", err=True)
                raise click.exceptions.Exit(130) from None

    @property
    def _has_arguments(self) -> bool:
        return any(isinstance(parameter, click.Argument) for parameter in self.params)

    def _place_of_config(self, args: Sequence[str]) -> int | None:
        """Find the first word that is neither an option nor the value of one, if it names a configuration."""
        options = [one for one in self.params if isinstance(one, click.Option) and not one.is_flag]
        with_value = {name for option in options for name in option.opts}
        is_value = False
        for place, word in enumerate(args):
            if word == "--":
                break
            if not is_value and not (word.startswith("-") and len(word) > 1):
                return place if not self._has_arguments or _IMPORT_PATH.fullmatch(word) else None
            is_value = not is_value and word in with_value
        return None


class Group(click.Group):
    """A group of commands of this grammar."""

    command_class = Command

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program."""
        with any_output():
            return super().main(*args, **options)


def json_option(what: str) -> Callable[[Decorated], Decorated]:
    """Make the option ``--json``, which prints *what*, for example "a JSON list"."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


def takes_config(command: click.Command) -> None:
    """Let a command take the configuration: with ``--config``, and as its first argument unless it is a group."""
    if isinstance(command, Command):
        command.names_config = True
    option = click.option(
        *("-c", "--config"),
        metavar="MODULE:CONFIG",
        expose_value=False,
        is_eager=True,
        callback=keep_typed_config,
        help=f"The QueueConfig of the application, or a function that makes one. Default: ${CONFIG_VARIABLE}.",
    )
    option(command)


modules_option: Final = click.option(
    *("-m", "--module", "--modules"),
    metavar="MODULE",
    multiple=True,
    expose_value=False,
    callback=keep_typed_modules,
    help="More modules that define tasks; separate several with commas.",
)
