"""``lq migrate``: the schema of the records, looked at, brought up to date by hand, or printed for others to do it."""

import asyncio
from collections.abc import Sequence

import click

from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session, names_of, told
from lq_core.queue import Migration


def migrate_command(session: Session) -> click.Command:
    """Make the command ``migrate``."""

    @click.command("migrate", cls=ExampleCommand, examples=("--show", "--sql > missing.sql", ""))
    @click.option("--show", is_flag=True, help="List what is missing, and change nothing.")
    @click.option("--sql", is_flag=True, help="Print what is missing as SQL, and change nothing.")
    def command(*, show: bool, sql: bool) -> None:
        """
        Bring the schema up to date.

        It does so also where auto_migrate is off. It is safe to run while workers run, and to run twice.
        """
        backend = session.backend()
        with told():
            found = asyncio.run(backend.pending_migrations() if show or sql else backend.migrate())
        if sql:
            _print_sql(found, address=backend.address)
        elif show and found:
            click.echo("\n".join(f"{names_of([migration])} is missing in {backend.address}." for migration in found))
        else:
            for migration in found:
                click.echo(f"{names_of([migration])} was applied.")
            click.echo(f"The schema of {backend.address} is up to date.")

    return command


def _print_sql(missing: Sequence[Migration], *, address: str) -> None:
    for migration in missing:
        click.echo(f"-- {names_of([migration])}\nBEGIN;\n{migration.sql.strip()}\nCOMMIT;\n")
    if not missing:
        click.echo(f"-- The schema of {address} is up to date.")
