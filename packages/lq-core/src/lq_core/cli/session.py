"""One run of one command: reads the configuration, opens the service, and prints errors in one line."""

import logging
import os
import shlex
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path

import click
from click.core import ParameterSource

from lq_core.cli.configuration import find_modules_here, named_config, named_modules
from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Command
from lq_core.cli.output import Failure
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, QueueError, SchemaError, StorageError
from lq_core.queue import BaseQueueBackend, Migration
from lq_core.queue.sqlite.config import PATH_VARIABLE
from lq_core.service import QueueService


def read_config() -> QueueConfig:
    """Read the configuration as :func:`read_config_of_stores` does; it must be that of one store."""
    config = read_config_of_stores()
    with short_errors():
        config.check_store_is_chosen()
    return config


def read_config_of_stores() -> QueueConfig:
    """Read the configuration with the function that the program gave to ``queue_commands``, and add ``--module``."""
    read: Callable[[], QueueConfig] = click.get_current_context().obj
    modules = named_modules()
    if modules:
        find_modules_here()
    with short_errors():
        config = read()
        return replace(config, task_modules=(*config.task_modules, *modules))


def with_service(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Give a command the open service as its first argument, without the tasks of the application."""

    @wraps(command)
    def run(**options: object) -> None:
        _run(replace(read_config(), task_modules=()), partial(command, **options), creates=False)

    return run


def with_service_and_tasks(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """
    Give a command the open service as its first argument, and import the tasks of the application.

    The command enqueues, so that it creates the database if there is none, as the application does.
    """

    @wraps(command)
    def run(**options: object) -> None:
        _run(read_config(), partial(command, **options), creates=True)

    return run


def _run(config: QueueConfig, action: Callable[[QueueService], Awaitable[None]], *, creates: bool) -> None:
    log = logging.getLogger("lq")
    level = log.level
    # Show only warnings, even if the application has configured logging for its servers.
    log.setLevel(max(level, logging.WARNING))
    try:
        with short_errors():
            service = QueueService(config)
            is_new = creates and service.queue_backend.missing_file is not None
            check_that_others_can_see(service.queue_backend, is_new=is_new)
            run_in_loop(_open_for(action, service, is_new=is_new))
    finally:
        log.setLevel(level)


async def _open_for(action: Callable[[QueueService], Awaitable[None]], service: QueueService, *, is_new: bool) -> None:
    # Check the schema first: to open the service could migrate a database that was given by mistake.
    if not is_new and (missing := await service.queue_backend.pending_migrations()):
        raise SchemaError(f"{service.queue_backend.address} lacks {names_of(missing)}. {migrate_advice()}")
    async with service:
        await action(service)


@contextmanager
def short_errors() -> Generator[None, None, None]:
    """Turn an error of lq into one line on stderr and exit code 1."""
    try:
        yield
    except QueueError as error:
        raise Failure(str(error)) from error


def names_of(migrations: Sequence[Migration]) -> str:
    """List migrations by number and name."""
    return ", ".join(f"{migration.number:04}_{migration.name}" for migration in migrations)


def migrate_advice() -> str:
    """Return the command that migrates this queue, as you would type it here."""
    context = click.get_current_context()
    is_named = _takes_config()
    target = named_config() if is_named else None
    while context.parent is not None and "migrate" not in getattr(context.command, "commands", {}):
        context = context.parent
    words = shlex.join([*_typed(context), "migrate", *(("--config", target) if target else ())])
    path = os.environ.get(PATH_VARIABLE) if is_named and target is None else None
    return f"Run: {words}" if path is None else f"Run: {PATH_VARIABLE}={shlex.quote(path)} {words}"


def _typed(context: click.Context) -> Iterator[str]:
    """Yield the words of a group and its parents, with the options that were typed."""
    if context.parent is not None:
        yield from _typed(context.parent)
    yield from (context.info_name or "").split()
    for parameter in context.command.params:
        name = parameter.name or ""
        value: object = context.params.get(name)
        was_typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if was_typed and isinstance(value, (str, Path)):
            yield from (max(parameter.opts, key=len), str(value))


def _takes_config() -> bool:
    """Whether the program takes a configuration, or has its own."""
    command = click.get_current_context().command
    return isinstance(command, Command) and command.names_config


def check_that_others_can_see(backend: BaseQueueBackend, *, is_new: bool = False) -> None:
    """
    Raise a QueueError if no command can see the records.

    They can be in the memory of another process, or there can be no file yet, unless it *is_new*.
    """
    if not backend.shared:
        raise ConfigurationError(
            "The records of this queue are in the memory of another process, and no command can see them. "
            'Use a queue backend that processes can share: QueueConfig(queue_backend="sqlite").'
        )
    if backend.missing_file and not is_new:
        advice = ", give its configuration (module:config), or set LQ_SQLITE_PATH" if _takes_config() else ""
        raise StorageError(
            f"There is no queue at {backend.address} yet. Run this in the folder of the application{advice}."
        )
