"""``lq migrate``: the schema of the records, brought up to date by hand."""

import asyncio
from dataclasses import is_dataclass, replace

import click

from lq_core.cli.session import Session, told
from lq_core.config import QueueBackendConfig
from lq_core.queue import BaseQueueBackend, get_queue_backend


def migrate_command(session: Session) -> click.Command:
    """Make the command ``migrate``."""

    @click.command("migrate")
    def command() -> None:
        """
        Bring the schema of the database up to date, also where auto_migrate is off.

        It is safe to run while workers run, and to run twice.
        """
        config = session.config()
        with told():
            backend = get_queue_backend(_migrating(config.queue_backend), config)
            asyncio.run(_open_and_close(backend))
        click.echo(f"The schema of {backend.address} is up to date.")

    return command


def _migrating(settings: QueueBackendConfig) -> QueueBackendConfig:
    """Opening migrates, unless the settings say that it shall not: then here they say that it shall."""
    if not isinstance(settings, str) and hasattr(settings, "auto_migrate") and is_dataclass(settings):
        return replace(settings, auto_migrate=True)
    return settings


async def _open_and_close(backend: BaseQueueBackend) -> None:
    await backend.open()
    await backend.close()
