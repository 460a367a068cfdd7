"""
The faults that a test or a person injects into a running emulator.

The next calls of a method use up its faults, in the order in which they were injected. You can call all of this from
any thread.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import grpc

from lq_cloudrun.emulator.execution import ImageFailure, StartFaults
from lq_cloudrun.emulator.held_calls import Hold

MethodName = Literal[
    "RunJob",
    "CreateJob",
    "GetJob",
    "ListJobs",
    "UpdateJob",
    "DeleteJob",
    "TestIamPermissions",
    "GetExecution",
    "ListExecutions",
    "CancelExecution",
    "DeleteExecution",
    "GetTask",
    "ListTasks",
    "GetOperation",
    "CreateWorkerPool",
    "GetWorkerPool",
    "ListWorkerPools",
    "UpdateWorkerPool",
    "DeleteWorkerPool",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFault:
    """The course of one call: first *before*, then the work unless *refusal*, then *after*, then the reply."""

    hold: Hold | None = None
    before: float = 0.0
    refusal: grpc.StatusCode | None = None
    after: float = 0.0
    lost: grpc.StatusCode | None = None
    """Do the work, and answer with this error."""

    silent: bool = False
    """Do the work, and let the client wait until its own deadline."""


class Faults:
    """The faults of one emulator."""

    def __init__(self, *, created: Callable[[], int]) -> None:
        self._created = created
        self._calls: defaultdict[str, deque[CallFault]] = defaultdict(deque)
        self._starts: defaultdict[str, deque[StartFaults]] = defaultdict(deque)
        self._held_starts: dict[str, Hold] = {}
        self._held_list: tuple[Hold, int] | None = None
        self._vanished: set[str] = set()
        self.forbidden: frozenset[str] = frozenset()
        """The permissions that callers do not have."""

    def refuse(self, method: MethodName, code: grpc.StatusCode, *, times: int = 1) -> None:
        """Answer the next calls of *method* with *code* and do nothing; 429 is RESOURCE_EXHAUSTED, 503 UNAVAILABLE."""
        self._plant(method, CallFault(refusal=code), times)

    def forbid(self, *permissions: str) -> None:
        """Take these permissions from all callers, such as ``"run.executions.list"``; without any, give all back."""
        self.forbidden = frozenset(permissions)

    def lose_reply(
        self, method: MethodName, *, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, times: int = 1
    ) -> None:
        """Do the work of the next calls of *method*, but answer with *code*."""
        self._plant(method, CallFault(lost=code), times)

    def never_reply(self, method: MethodName, *, times: int = 1) -> None:
        """Do the work of the next calls of *method*, and let the client wait until its deadline."""
        self._plant(method, CallFault(silent=True), times)

    def delay(self, method: MethodName, *, before: float = 0.0, after: float = 0.0, times: int = 1) -> None:
        """
        Make the next calls of *method* slow, by seconds before and after the work.

        The emulator does the work even if the client has given up by then, as after a slow network.
        """
        self._plant(method, CallFault(before=before, after=after), times)

    def hold(self, method: MethodName, *, times: int = 1) -> Hold:
        """Hold the next calls of *method* until the returned hold is released, then do the work."""
        hold = Hold()
        self._plant(method, CallFault(hold=hold), times)
        return hold

    def hold_starts(self, job: str) -> Hold:
        """Create executions of *job*, but do not start their processes until the returned hold is released."""
        hold = Hold()
        self._held_starts[job] = hold
        return hold

    def fail_image(self, job: str, *, reason: ImageFailure = ImageFailure.CONTAINER_MISSING, times: int = 1) -> None:
        """Make the next executions of *job* fail without a failed task, as if the image is missing."""
        self._starts[job].extend([StartFaults(image_failure=reason)] * times)

    def retry_spuriously(self, job: str, *, times: int = 1) -> None:
        """Run every task of the next executions of *job* once more, however its first attempt ended."""
        self._starts[job].extend([StartFaults(spurious_retries=1)] * times)

    def vanish(self, execution_name: str) -> None:
        """Answer NotFound for this execution from now on. Its processes go on."""
        self._vanished.add(execution_name)

    def freeze_list(self) -> Hold:
        """Hide executions created from now on from ListExecutions, until the returned hold is released."""
        hold = Hold()
        self._held_list = (hold, self._created())
        return hold

    def next_call(self, method: str) -> CallFault:
        """Use up the next fault of *method*, or a fault that does nothing if there is none."""
        planted = self._calls[method]
        return planted.popleft() if planted else CallFault()

    def next_start(self, job: str) -> StartFaults:
        """Use up the next fault of an execution of *job*."""
        planted = self._starts[job]
        start = planted.popleft() if planted else StartFaults()
        return replace(start, hold=self._held_starts.get(job))

    def shows(self, execution_name: str) -> bool:
        """Whether the API still knows this execution."""
        return execution_name not in self._vanished

    def lists(self, number: int) -> bool:
        """Whether ListExecutions already knows the execution of this number."""
        return self._held_list is None or self._held_list[0].released or number <= self._held_list[1]

    def _plant(self, method: MethodName, fault: CallFault, times: int) -> None:
        self._calls[method].extend([fault] * times)
