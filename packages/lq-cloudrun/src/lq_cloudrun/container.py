"""
What a container is told by its environment: which record at which epoch, or what to drain, and how to connect.

Everything is read and checked here, once, before anything is imported or opened.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final
from uuid import UUID

import msgspec

from lq_cloudrun.config import DRAIN, EPOCH, TASK_ID, CloudRunExecutionConfig
from lq_cloudrun.drain_order import DrainOrder
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError

CONNECT_SECONDS: Final = 120.0
"""How long a first connection is tried: with direct VPC egress it may take more than a minute."""

POLICIES: Final = ("outcome", "recorded")


class EnvironmentProblem(Exception):  # noqa: N818 -- it is no error of the program but one of its environment
    """The environment does not say what to run; *missing* tells absent from malformed."""

    def __init__(self, message: str, *, missing: bool) -> None:
        super().__init__(message)
        self.missing = missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """One start of one container."""

    prefix: str
    execution: str
    """The short name of the execution; empty outside of Cloud Run."""

    config: str | None
    config_factory: str | None
    task_modules: tuple[str, ...]
    exits_well_when_recorded: bool
    connect_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordContainer(Container):
    """A container for one record."""

    task_id: UUID
    epoch: int | None
    """None when a person started the container by hand, for a record as it stands."""

    index: int
    """Which task of its execution the container is; only the first one, 0, runs the record."""

    attempt: int
    """How often Cloud Run has restarted this container; 0 at the first start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrainContainer(Container):
    """A container for whatever is due."""

    order: DrainOrder


def read_container(env: Mapping[str, str], config: QueueConfig | None = None) -> RecordContainer | DrainContainer:
    """Read the environment. Raises EnvironmentProblem, and ConfigurationError for a setting that cannot work."""
    prefix = _prefix(env, config)
    task_id, order = env.get(f"{prefix}_{TASK_ID}", "").strip(), env.get(f"{prefix}_{DRAIN}")
    if not task_id and order is None:
        raise EnvironmentProblem(
            f"{prefix}_{TASK_ID} is not set: this program is started by the dispatcher, which names a record.",
            missing=True,
        )
    policy = env.get(f"{prefix}_EXIT_POLICY", POLICIES[0])
    if policy not in POLICIES:
        raise ConfigurationError(f"{prefix}_EXIT_POLICY is {policy!r}; it may be {' or '.join(POLICIES)}.")
    modules = env.get(f"{prefix}_TASK_MODULES", "")
    common = Container(
        prefix=prefix,
        execution=env.get("CLOUD_RUN_EXECUTION", ""),
        config=env.get(f"{prefix}_CONFIG") or None,
        config_factory=env.get(f"{prefix}_CONFIG_FACTORY") or None,
        task_modules=tuple(name.strip() for name in modules.split(",") if name.strip()),
        exits_well_when_recorded=policy == "recorded",
        connect_seconds=_seconds(env, f"{prefix}_CONNECT_SECONDS"),
    )
    if order is not None:
        return DrainContainer(**asdict(common), order=_order(f"{prefix}_{DRAIN}", order))
    return RecordContainer(
        **asdict(common),
        task_id=_uuid(f"{prefix}_{TASK_ID}", task_id),
        epoch=_epoch(f"{prefix}_{EPOCH}", env),
        index=_number(env, "CLOUD_RUN_TASK_INDEX"),
        attempt=_number(env, "CLOUD_RUN_TASK_ATTEMPT"),
    )


def _prefix(env: Mapping[str, str], config: QueueConfig | None) -> str:
    """Find what the variables begin with: by the configuration in hand, else by those that the dispatcher sets."""
    settings = (config.execution_backend, *config.execution_backends) if config else ()
    for each in settings:
        if isinstance(each, CloudRunExecutionConfig):
            return each.env_prefix
    default = CloudRunExecutionConfig.env_prefix
    if {f"{default}_{TASK_ID}", f"{default}_{DRAIN}"} & env.keys():
        return default
    pairs = {name.removesuffix(f"_{TASK_ID}") for name in env if f"{name.removesuffix(TASK_ID)}{EPOCH}" in env}
    orders = {name.removesuffix(f"_{DRAIN}") for name, value in env.items() if value.startswith("{")}
    found = sorted(prefix for prefix in pairs | orders if {f"{prefix}_{TASK_ID}", f"{prefix}_{DRAIN}"} & env.keys())
    # Others may number their tasks alike; the queue's configuration says which are ours.
    ours = [prefix for prefix in found if {f"{prefix}_CONFIG", f"{prefix}_CONFIG_FACTORY"} & env.keys()] or found
    if len(ours) > 1:
        raise EnvironmentProblem(
            f"Several variables could name a record: {', '.join(f'{prefix}_{TASK_ID}' for prefix in ours)}, or those "
            "that end in _DRAIN. Set _CONFIG for the one that is env_prefix of the configuration.",
            missing=False,
        )
    return ours[0] if ours else default


def _uuid(name: str, text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise EnvironmentProblem(f"{name} is {text!r}, which is not the id of a record.", missing=False) from error


def _order(name: str, text: str) -> DrainOrder:
    try:
        return msgspec.json.decode(text, type=DrainOrder)
    except msgspec.DecodeError as error:
        raise EnvironmentProblem(
            f"{name} is {text!r}, which does not say what to drain: {error}", missing=False
        ) from error


def _epoch(name: str, env: Mapping[str, str]) -> int | None:
    text = env.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise EnvironmentProblem(f"{name} is {text!r}, which is not an epoch.", missing=False)
    return int(text)


def _number(env: Mapping[str, str], name: str) -> int:
    text = env.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _seconds(env: Mapping[str, str], name: str) -> float:
    text = env.get(name)
    if text is None:
        return CONNECT_SECONDS
    try:
        return max(0.0, float(text))
    except ValueError as error:
        raise ConfigurationError(f"{name} is {text!r}; it takes seconds, such as 120.") from error
