"""The plain settings of an application from environment variables, over those of its code."""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, alike

PREFIX: Final = "LQ_"

IN_APP_WORKER: Final = "IN_APP_WORKER"
"""Without its prefix, the variable that says whether a plugin runs a worker in the application."""


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


SETTINGS: Final[Mapping[str, Callable[[str], Any]]] = MappingProxyType(
    {
        "queue_backend": str,
        "execution_backend": str,
        "task_modules": _names,
        "queues": _names,
        "concurrency": int,
        "priority_aging": float,
        "poll_interval": float,
        "heartbeat_interval": float,
        "heartbeat_timeout": float,
        "shutdown_grace": float,
        "unknown_task_patience": float,
        "max_payload_bytes": int,
    }
)
"""The fields of QueueConfig that a variable can set, and what makes a value of its text."""


def config_from_environment(
    config: QueueConfig | None = None, *, prefix: str = PREFIX, environment: Mapping[str, str] | None = None
) -> QueueConfig:
    """
    Return *config*, by default ``QueueConfig()``, with the plain fields that variables set, such as ``LQ_CONCURRENCY``.

    A variable has the name of the field in capitals after *prefix*. Queues and modules are separated by commas,
    durations are in seconds, and an empty variable counts as absent. *environment* is that of the process by default.

    Raises ConfigurationError for a value that cannot work, and for a variable whose name is almost one of these.
    """
    base = QueueConfig() if config is None else config
    given = os.environ if environment is None else environment
    known = {f"{prefix}{name.upper()}": name for name in SETTINGS}
    for variable in given:
        _refuse_misspelt(variable, [*known, prefix + IN_APP_WORKER], prefix)
    values: dict[str, Any] = {}
    for variable, name in known.items():
        if text := given.get(variable, "").strip():
            values[name] = text
            with suppress(ValueError):  # QueueConfig says what it must be.
                values[name] = SETTINGS[name](text)
    try:
        return replace(base, **values)
    except ConfigurationError as error:
        variables = ", ".join(f"{prefix}{name.upper()}" for name in values)
        raise ConfigurationError(f"{error} The environment sets {variables}.") from error


def in_app_worker(*, prefix: str = PREFIX, environment: Mapping[str, str] | None = None) -> bool:
    """Say whether to run a worker in the application: ``LQ_IN_APP_WORKER``, true or false; true by default."""
    variable = prefix + IN_APP_WORKER
    text = (os.environ if environment is None else environment).get(variable, "").strip().lower()
    if text in {"", "1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off"}:
        return False
    raise ConfigurationError(f"{variable} is {text!r}; it must be true or false.")


def _refuse_misspelt(variable: str, known: list[str], prefix: str) -> None:
    """Refuse a variable with almost the name of a setting; others may belong to somebody else, such as Kubernetes."""
    if variable in known or not variable.startswith(prefix):
        return
    close = alike(variable, known, cutoff=0.85)
    if close:
        raise ConfigurationError(f"The environment sets {variable}, which is not a setting. Did you mean {close[0]}?")
