"""
The environment of a container: which record at which epoch, or what to pull, and how to connect.

It is read and checked here, once, before anything is imported or opened.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.executions.request import PullOrder
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError

Value = TypeVar("Value")

CONNECT_SECONDS: Final = "120"
"""How long to try the first connection: with direct VPC egress it may take more than a minute."""

CONFIG_VARIABLE: Final = "LQ_CONFIG"
"""The variable that names the configuration, for the commands of lq as well."""

POLICIES: Final = ("outcome", "recorded")


class EnvironmentProblem(Exception):  # noqa: N818 -- it is no error of the program but one of its environment
    """The environment does not say what to run; *missing* distinguishes an absent variable from a malformed one."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


class Container(Struct, frozen=True, kw_only=True):
    """One start of one container."""

    prefix: str
    execution: str
    """The short name of the execution; empty outside of Cloud Run."""

    config_variable: str
    """The variable that names the configuration, even if it is not set."""

    config: str | None
    task_modules: tuple[str, ...]
    exits_well_when_recorded: bool
    connect_seconds: float


class RecordContainer(Container, frozen=True, kw_only=True):
    """A container for one record."""

    task_id: UUID
    epoch: int | None
    """None when a person started the container by hand, for a record as it stands."""

    index: int
    """The number of the container within its execution; only the first one, 0, runs the record."""

    attempt: int
    """How often Cloud Run has restarted this container; 0 at the first start."""

    cancel_within: float
    """SIGTERM less than this many seconds after the start cancels the record; 0 if it only interrupts it."""

    @property
    def facts(self) -> dict[str, object]:
        """The record, for the log."""
        return {"record_id": str(self.task_id), "epoch": self.epoch}


class PullContainer(Container, frozen=True, kw_only=True):
    """A container for all records that are due."""

    order: PullOrder


def read_container(env: Mapping[str, str], config: QueueConfig | None = None) -> RecordContainer | PullContainer:
    """Read the environment. Raises EnvironmentProblem, and ConfigurationError for a setting that cannot work."""
    prefix = _prefix(env, config)
    task_id, order, epoch = env.get(f"{prefix}_TASK_ID", ""), env.get(f"{prefix}_PULL"), env.get(f"{prefix}_EPOCH")
    if not task_id.strip() and order is None:
        raise EnvironmentProblem(
            f"{prefix}_TASK_ID is not set: the dispatcher starts this program, and names a record.", missing=True
        )
    policy = env.get(f"{prefix}_EXIT_POLICY", POLICIES[0])
    if policy not in POLICIES:
        raise ConfigurationError(f"{prefix}_EXIT_POLICY is {policy!r}; it may be {' or '.join(POLICIES)}.")
    seconds = env.get(f"{prefix}_CONNECT_SECONDS", CONNECT_SECONDS)
    try:
        connect_seconds = max(0.0, float(seconds))
    except ValueError as error:
        message = f"{prefix}_CONNECT_SECONDS is {seconds!r}; it must be a number of seconds, such as 120."
        raise ConfigurationError(message) from error
    modules = env.get(f"{prefix}_TASK_MODULES", "").split(",")
    common: dict[str, Any] = {
        "prefix": prefix,
        "execution": env.get("CLOUD_RUN_EXECUTION", ""),
        **_named(prefix, env),
        "task_modules": tuple(name.strip() for name in modules if name.strip()),
        "exits_well_when_recorded": policy == "recorded",
        "connect_seconds": connect_seconds,
    }
    if order is not None:
        try:
            return PullContainer(**common, order=msgspec.json.decode(order, type=PullOrder))
        except msgspec.DecodeError as error:
            message = f"{prefix}_PULL is {order!r}, which is not an order to pull: {error}"
            raise EnvironmentProblem(message, missing=False) from error
    return RecordContainer(
        **common,
        task_id=_value(f"{prefix}_TASK_ID", task_id, UUID, "the id of a record"),
        epoch=None if epoch is None else _value(f"{prefix}_EPOCH", epoch, int, "an epoch"),
        index=_value("CLOUD_RUN_TASK_INDEX", env.get("CLOUD_RUN_TASK_INDEX", "0"), int, "a number"),
        attempt=_value("CLOUD_RUN_TASK_ATTEMPT", env.get("CLOUD_RUN_TASK_ATTEMPT", "0"), int, "a number"),
        cancel_within=_value(f"{prefix}_CANCEL_WITHIN", env.get(f"{prefix}_CANCEL_WITHIN", "0"), float, "a number"),
    )


def _prefix(env: Mapping[str, str], config: QueueConfig | None) -> str:
    """Find the prefix of the variables: by the configuration, otherwise by the variables that the dispatcher sets."""
    ours = CloudRunExecutionConfig.of(config) if config else None
    default = ours.env_prefix if ours else CloudRunExecutionConfig.env_prefix
    if ours or {f"{default}_TASK_ID", f"{default}_PULL"} & env.keys():
        return default
    pairs = {name.removesuffix("_TASK_ID") for name in env if f"{name.removesuffix('TASK_ID')}EPOCH" in env}
    orders = {name.removesuffix("_PULL") for name, value in env.items() if value.startswith("{")}
    found = sorted(prefix for prefix in pairs | orders if {f"{prefix}_TASK_ID", f"{prefix}_PULL"} & env.keys())
    # Other programs may use similar names; only our containers have the configuration of a queue.
    found = [prefix for prefix in found if {f"{prefix}_CONFIG", f"{prefix}_CONFIG_FACTORY"} & env.keys()] or found
    if len(found) > 1:
        raise EnvironmentProblem(
            f"Several variables could name a record: {', '.join(f'{prefix}_TASK_ID' for prefix in found)}, or those "
            "that end in _PULL. Set PREFIX_CONFIG, where PREFIX is the env_prefix of the dispatcher.",
            missing=False,
        )
    return found[0] if found else default


def _named(prefix: str, env: Mapping[str, str]) -> dict[str, str | None]:
    """Find the variable that names the configuration. The commands of lq read the last one."""
    for variable in (f"{prefix}_CONFIG", f"{prefix}_CONFIG_FACTORY", CONFIG_VARIABLE):
        if path := env.get(variable):
            return {"config_variable": variable, "config": path}
    return {"config_variable": CONFIG_VARIABLE, "config": None}


def _value(name: str, text: str, kind: type[Value], what: str) -> Value:
    try:
        return msgspec.convert(text.strip(), kind, strict=False)
    except msgspec.ValidationError as error:
        raise EnvironmentProblem(f"{name} is {text!r}, which is not {what}.", missing=False) from error
