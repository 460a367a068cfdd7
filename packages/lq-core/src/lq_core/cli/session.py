"""One run of one command: the configuration read, the service opened, and errors told in one line."""

import asyncio
import logging
import os
import shlex
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError, QueueError, SchemaError, StorageError
from lq_core.queue import BaseQueueBackend, Migration, get_queue_backend
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteQueueBackend
from lq_core.queue.sqlite.config import PATH_VARIABLE
from lq_core.service import QueueService
from lq_core.service.task_modules import import_tasks

TARGET: Final = "lq.target"
"""Where click keeps the configuration that was named, or None; only ``lq`` itself takes one."""

Look = Callable[[QueueService], Awaitable[None]]
"""What a command does with the open service."""


class Session:
    """What every command stands on: *read* says where the configuration comes from."""

    def __init__(self, read: Callable[[], QueueConfig]) -> None:
        self._read = read

    def config(self) -> QueueConfig:
        """Read the configuration; a QueueError ends the command."""
        with told():
            return self._read()

    def look(self, action: Look) -> None:
        """Do something with the records that are there already; the tasks are not imported for it."""
        self._look(replace(self.config(), task_modules=()), action)

    def looks(self, command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        """Give a command the open service as its first argument, as :meth:`look` does."""

        @wraps(command)
        def looking(**options: object) -> None:
            self.look(lambda service: command(service, **options))

        return looking

    def looks_with_tasks(self, command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        """Give a command the open service, with the tasks imported as well."""

        @wraps(command)
        def looking(**options: object) -> None:
            self._look(self.config(), lambda service: command(service, **options))

        return looking

    def backend(self) -> BaseQueueBackend:
        """Make the queue backend, which is closed; a QueueError ends the command."""
        with told():
            config = self._read()
            return get_queue_backend(config.queue_backend, config)

    def import_tasks(self) -> None:
        """Import what the configuration says defines tasks."""
        with told():
            import_tasks(self._read().task_modules)

    def _look(self, config: QueueConfig, action: Look) -> None:
        with told(), _quiet():
            service = QueueService(config)
            check_that_others_can_see(service.queue_backend)
            asyncio.run(_looked_at(service, action, advice=migrate_advice()))


@contextmanager
def told() -> Generator[None, None, None]:
    """Make an error of lq one line on stderr and exit code 1."""
    try:
        yield
    except QueueError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """Leave out the events of everyday: an application may have set up logging for its servers."""
    log = logging.getLogger("lq")
    level = log.level
    log.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        log.setLevel(level)


async def _looked_at(service: QueueService, action: Look, *, advice: str) -> None:
    """Look at the schema first: opening would bring it up to date, perhaps in a database that was named by mistake."""
    missing = await service.queue_backend.pending_migrations()
    if missing:
        raise SchemaError(f"{service.queue_backend.address} lacks {names_of(missing)}. {advice}")
    async with service:
        await action(service)


def names_of(migrations: Sequence[Migration]) -> str:
    """Write migrations as they are numbered and named."""
    return ", ".join(f"{migration.number:04}_{migration.name}" for migration in migrations)


def migrate_advice() -> str:
    """Say which command brings the schema up to date, as it would be typed here."""
    context = click.get_current_context()
    target: str | None = context.meta.get(TARGET)
    while context.parent is not None and "migrate" not in getattr(context.command, "commands", {}):
        context = context.parent
    words = shlex.join([*_typed(context), "migrate", *(("--config", target) if target else ())])
    path = os.environ.get(PATH_VARIABLE) if TARGET in context.meta and target is None else None
    return f"Run: {words}" if path is None else f"Run: {PATH_VARIABLE}={shlex.quote(path)} {words}"


def _typed(context: click.Context) -> Iterator[str]:
    """Tell the words of a group and of those around it, with the options that each was given."""
    if context.parent is not None:
        yield from _typed(context.parent)
    yield from (context.info_name or "").split()
    for parameter in context.command.params:
        name = parameter.name or ""
        value: object = context.params.get(name)
        was_typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if was_typed and isinstance(value, (str, Path)):
            yield from (max(parameter.opts, key=len), str(value))


def check_that_others_can_see(backend: BaseQueueBackend) -> None:
    """Refuse, with a QueueError, to look at records that are in another process, or at none."""
    if isinstance(backend, InMemoryQueueBackend):
        raise ConfigurationError(
            "The records of this queue are in the memory of the process that made them; no other can see them. "
            'Choose another place to look at them from outside: QueueConfig(queue_backend="sqlite").'
        )
    if isinstance(backend, SQLiteQueueBackend) and not backend.path.exists():
        can_be_named = TARGET in click.get_current_context().meta
        advice = ", name its configuration (module:config), or set LQ_SQLITE_PATH" if can_be_named else ""
        raise StorageError(
            f"There is no queue at {backend.address} yet. Start in the folder of the application{advice}."
        )
