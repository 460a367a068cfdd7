"""``lq migrate``: shows, prints or applies the missing migrations."""

import click

from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Command
from lq_core.cli.output import echo
from lq_core.cli.session import names_of, read_config, short_errors
from lq_core.foundation.event_log import show_events
from lq_core.queue import get_queue_backend


@click.command("migrate", cls=Command, examples=("--show", "--sql > missing.sql", ""))
@click.option("--show", is_flag=True, help="List the missing migrations, and change nothing.")
@click.option("--sql", is_flag=True, help="Print the missing migrations as SQL, and change nothing.")
def migrate(*, show: bool, sql: bool) -> None:
    """
    Apply the missing migrations to the schema.

    It applies them even if auto_migrate is off. You can run this command while workers run, and more than once.
    It prints on stderr what it does, and what it waits for.
    """
    config = read_config()
    if not (show or sql):
        show_events()
    with short_errors():
        backend = get_queue_backend(config.queue_backend, config)
        found = run_in_loop(backend.pending_migrations() if show or sql else backend.migrate())
    for migration in found:
        name = names_of([migration])
        if sql:
            echo(f"-- {name}\nBEGIN;\n{migration.sql.strip()}\nCOMMIT;\n")
        else:
            echo(f"{name} is missing in {backend.address}." if show else f"{name} was applied.")
    if not found or not (show or sql):
        echo(f"{'-- ' if sql else ''}The schema of {backend.address} is up to date.")
