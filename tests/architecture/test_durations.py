"""Wherever an application writes seconds, it may write a timedelta."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_type_hints

from lq_core import OptionArguments, TaskOptions
from test_public_names import DOORS, names_of, signatures_of, types_in

DURATION = re.compile(
    r"(^|_)(timeout|interval|delay|grace|window|within|every|per|patience|time|by|expires_in|after|cap)$"
)

IN_SECONDS = {
    *("CloudRunExecutionBackend", "ExternalExecutionBackend", "PostgresQueueBackend.orphans"),
    *("Connection.close", "Connection.execute", "Connection.fetch", "Pool.acquire", "JobsClient.run_job"),
    *("ExecutionsClient.cancel_execution", "ExecutionsClient.get_execution", "ExecutionsClient.list_executions"),
    *("TasksClient.get_task", "WorkerPoolsClient.get_worker_pool", "WorkerPoolsClient.update_worker_pool"),
    *("QueuedTaskRecord", "RecordView", "SignalNotStoredError", "TaskOptions", "WaitTimeoutError"),
}
"""What lq passes to backends and to libraries, and what it has stored."""


def parameters() -> Iterator[tuple[str, str, object]]:
    """The parameters and fields of the public names that have the name of a duration."""
    for door in (*DOORS, "lq_core.testing"):
        for name, public in names_of(door).items():
            members: dict[str, Any] = {"": public} if isinstance(public, type) else {}
            members |= {function.__qualname__: function for function in signatures_of(public)}
            for place, member in members.items():
                for parameter, annotation in get_type_hints(member, include_extras=True).items():
                    if DURATION.search(parameter) and float in {*types_in(annotation)}:
                        yield place or name, parameter, annotation


def test_a_duration_may_be_a_timedelta() -> None:
    found = [*parameters()]

    assert {("QueueConfig", "poll_interval"), ("QueueTestbed.drain", "within")} <= {
        (place, name) for place, name, _ in found
    }
    assert {place for place, _, annotation in found if timedelta not in {*types_in(annotation)}} == IN_SECONDS


def test_an_option_that_is_stored_in_seconds_may_be_given_as_a_timedelta() -> None:
    stored = {name for name, kind in get_type_hints(TaskOptions).items() if float in {*types_in(kind)}}
    given = {name for name, kind in get_type_hints(OptionArguments).items() if timedelta in {*types_in(kind)}}

    assert stored <= given
    assert {"delay", "timeout", "expires_in", "key_window"} <= stored
