"""The configuration and the modules that were named for a command, and how they are imported."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import click

from lq_core.cli.event_loop import finished
from lq_core.foundation.import_path import calling, is_factory, load

CONFIG_VARIABLE: Final = "LQ_CONFIG"
_CONFIG: Final = "lq.config"
_MODULES: Final = "lq.modules"
"""Keys in click's ``meta``, which a context shares with its parents."""


def keep_config(context: click.Context, config: str) -> None:
    """Keep the configuration that was typed. Raises UsageError if another one was typed before."""
    before = context.meta.setdefault(_CONFIG, config)
    if before != config:
        raise click.UsageError(f"The configuration is given twice: {config} and {before}.", context)


def keep_typed_config(context: click.Context, _: click.Parameter, config: str | None) -> None:
    """Keep the configuration of ``--config``."""
    if config is not None:
        keep_config(context, config)


def typed_config(context: click.Context) -> str | None:
    """Return the configuration that was typed, as MODULE:CONFIG."""
    return context.meta.get(_CONFIG)


def named_config() -> str | None:
    """Return the configuration that was typed, or the one of the environment."""
    return typed_config(click.get_current_context()) or os.environ.get(CONFIG_VARIABLE) or None


def keep_typed_modules(context: click.Context, _: click.Parameter, modules: Sequence[str]) -> None:
    """Keep the modules of ``--module``."""
    context.meta[_MODULES] = split_names(modules)


def named_modules() -> Sequence[str]:
    """Return the modules that were typed."""
    return click.get_current_context().meta.get(_MODULES, ())


def load_config(config: str) -> object:
    """
    Import what *config* names, and call it if it is a function.

    The function may be async, or an async context manager, which is left when the command ends; it runs in the event
    loop of :func:`run_in_loop`. Raises ConfigurationError if it cannot be imported, or raises.
    """
    find_modules_here()
    found = load(config, said=f"The configuration is {config!r}")
    if is_factory(found):
        with calling(config):
            return finished(found())
    return found


def find_modules_here() -> None:
    """Import modules from the working directory, as Python itself does when it is started there."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def split_names(texts: Iterable[str]) -> tuple[str, ...]:
    """Split each text at its commas; keep the order, and each name once."""
    names = (name.strip() for text in texts for name in text.split(","))
    return tuple(dict.fromkeys(name for name in names if name))
