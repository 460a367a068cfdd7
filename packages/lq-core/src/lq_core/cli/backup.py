"""``lq backup``: copies the queue to a file while it is in use."""

from pathlib import Path

import click

from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Command
from lq_core.cli.output import echo
from lq_core.cli.session import check_that_others_can_see, read_config, short_errors
from lq_core.queue import get_queue_backend


@click.command("backup", cls=Command, examples=("/backups/monday.db", "--force latest.db"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite FILE if it exists.")
def backup(*, file: Path, force: bool) -> None:
    """
    Copy the queue to FILE while processes use it.

    The copy is checked. It has all records as they were at one moment. For PostgreSQL, use pg_dump instead.
    """
    config = read_config()
    with short_errors():
        backend = get_queue_backend(config.queue_backend, config)
        check_that_others_can_see(backend)
        copied = run_in_loop(backend.back_up(file, overwrite=force))
    records = "1 record" if copied.records == 1 else f"{copied.records:,} records"
    echo(f"Copied {records} of {backend.address} to {copied.path} ({copied.size:,} bytes). The copy has been checked.")
