"""The bodies of requests to the API, and its small answers."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from lq_core import RateLimit, RecordFilter, TaskStatus
from lq_web import bulk


class Call(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a call, by parameter name."""

    arguments: dict[str, Any] = {}


class NewLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of a queue; None removes one."""

    concurrency: int | None = None
    rate: RateLimit | None = None


class NewSignal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signal to a record, with a value that its task takes."""

    name: str
    value: Any = None


class TaskView(Struct, frozen=True, kw_only=True):
    """A task that this process knows."""

    name: str
    signature: str
    arguments: dict[str, Any]
    """The JSON schema of the arguments of a call."""

    queue: str
    retries: int
    timeout: float | None


class Version(Struct, frozen=True, kw_only=True):
    """The version of everything that the API shows; None if the store has none."""

    version: str | None


class Changed(Struct, frozen=True, kw_only=True):
    """How many records were changed."""

    changed: int


class ManyRecords(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An action on many records; *as_of* is that of the preview."""

    action: bulk.Action
    statuses: tuple[TaskStatus, ...] | None = None
    queues: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    error: str | None = None
    as_of: datetime | None = None

    def selection(self, now: datetime) -> bulk.Selection:
        """Return the records that it is about, at the latest as they are *now*."""
        condition = RecordFilter(statuses=self.statuses, queues=self.queues, task_names=self.tasks)
        return bulk.Selection(action=self.action, condition=condition, error=self.error, as_of=self.as_of or now)


class Problem(Struct, frozen=True, kw_only=True):
    """Why a request was refused: problem details of RFC 9457, as ``application/problem+json``."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
