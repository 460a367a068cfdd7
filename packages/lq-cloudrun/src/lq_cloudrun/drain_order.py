"""What a container that drains is told: which queues, for how long, and nothing of any record."""

from collections.abc import Collection

from msgspec import Struct


class DrainOrder(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The value of the variable ``{env_prefix}_DRAIN``, as JSON."""

    job: str
    """The full name of the job, for the address of the logs."""

    queues: tuple[str, ...] | None = None
    """Only records of these queues; None for all."""

    execution_backend: str = "cloudrun"
    """Only records of this execution backend."""

    concurrency: int
    """How many records to run at once."""

    drain_time: float
    """How many seconds to take records for."""

    timeout: float
    """How many seconds what runs then has to end."""

    max_interruptions: int
    """How often a record may be stopped from outside before it fails."""


def same_queues(some: Collection[str] | None, others: Collection[str] | None) -> bool:
    """Whether two orders, or workers, name the same queues, in whatever order and kind of collection."""
    return (None if some is None else frozenset(some)) == (None if others is None else frozenset(others))
