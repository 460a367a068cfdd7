"""``lq web``: serves the dashboard of lq-web, if that package is installed."""

from importlib.metadata import entry_points

import click

from lq_core.cli.options import Command
from lq_core.cli.output import Failure
from lq_core.cli.session import check_that_others_can_see, read_config, short_errors
from lq_core.queue import get_queue_backend

GROUP = "lq.programs"
"""The entry points of programs of other packages that ``lq`` starts."""


@click.command("web", cls=Command, examples=("", "--port 8080"))
@click.option("--host", default="127.0.0.1", show_default=True, help="Only addresses of this machine are allowed.")
@click.option("--port", type=click.IntRange(1, 65_535), default=8000, show_default=True)
def web(*, host: str, port: int) -> None:
    """
    Serve the dashboard on this machine until Ctrl-C.

    Everyone who can reach it can change the queue, so it listens only on this machine. To show it to others,
    mount it in an application with guards.
    """
    found = entry_points(group=GROUP, name="web")
    if not found:
        raise Failure("The dashboard is not installed. Install it with: pip install 'lq-web[serve]'")
    config = read_config()
    with short_errors():
        check_that_others_can_see(get_queue_backend(config.queue_backend, config))
        (entry,) = found
        entry.load()(config, host=host, port=port)
