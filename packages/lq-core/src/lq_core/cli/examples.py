"""A command whose help ends with examples that can be typed as they stand, whatever program it is mounted in."""

from collections.abc import Sequence

import click


class ExampleCommand(click.Command):
    """Shows *examples* in its help, each after the words that lead to the command."""

    def __init__(self, name: str | None, *, examples: Sequence[str] = (), **settings: object) -> None:
        super().__init__(name, **settings)  # pyright: ignore[reportArgumentType] -- click.command passes them through
        self.examples = examples

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples below the options."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{ctx.command_path} {example}".rstrip() + "\n")
