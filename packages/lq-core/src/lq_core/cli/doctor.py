"""``lq doctor``: what hurts, and what to do about it."""

import asyncio
from collections.abc import Sequence

import click

from lq_core.cli.display import print_json, print_table
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session, check_that_others_can_see, migrate_advice, names_of, told
from lq_core.errors import StorageError
from lq_core.queue import BaseQueueBackend, Finding


def doctor_command(session: Session) -> click.Command:
    """Make the command ``doctor``."""

    @click.command("doctor", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
    def command(*, as_json: bool) -> None:
        """
        Look for what hurts, and say what to do about it.

        It changes nothing. It ends with 1 when something hurts.
        """
        backend = session.backend()
        with told():
            check_that_others_can_see(backend)
            findings = asyncio.run(_examine(backend, advice=migrate_advice()))
        if as_json:
            print_json(findings)
        else:
            _print(findings, address=backend.address)
        if any(finding.advice for finding in findings):
            raise click.exceptions.Exit(1)

    return command


async def _examine(backend: BaseQueueBackend, *, advice: str) -> Sequence[Finding]:
    """Look at the schema first: opening would bring it up to date, and a doctor only looks."""
    try:
        missing = await backend.pending_migrations()
        if missing:
            return [Finding(check="schema", found=f"lacks {names_of(missing)}", advice=advice)]
        await backend.open()
        return await backend.diagnose()
    except StorageError as error:
        return [Finding(check="database", found="cannot be used", advice=str(error))]
    finally:
        await backend.close()


def _print(findings: Sequence[Finding], *, address: str) -> None:
    print_table(
        ("check", "state", "found"),
        [(finding.check, "hurts" if finding.advice else "well", finding.found) for finding in findings],
        empty="Nothing was looked at.",
    )
    hurting = [finding for finding in findings if finding.advice]
    for finding in hurting:
        click.echo(f"{finding.check}: {finding.advice}")
    if not hurting:
        click.echo(f"{address} is well.")
