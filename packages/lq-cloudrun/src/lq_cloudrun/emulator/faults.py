"""
What shall go wrong, and when: the faults a test or a person plants in a running emulator.

A fault on a method is used up by its next calls, in the order in which faults were planted. All of this may be
called from any thread.
"""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import grpc

from lq_cloudrun.emulator.execution import ImageFailure, StartFaults
from lq_cloudrun.emulator.hold import Hold

MethodName = Literal["RunJob", "GetJob", "GetExecution", "ListExecutions", "CancelExecution", "GetTask", "GetOperation"]


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFault:
    """What happens to one call: first *before*, then the work unless *refusal*, then *after*, then the reply."""

    hold: Hold | None = None
    before: float = 0.0
    refusal: grpc.StatusCode | None = None
    after: float = 0.0
    lost: grpc.StatusCode | None = None
    """The work is done, and the client is told this error."""

    silent: bool = False
    """The work is done, and the client is told nothing until its own deadline."""


class Faults:
    """The faults of one emulator."""

    def __init__(self, *, created: Callable[[], int]) -> None:
        self._created = created
        self._calls: defaultdict[str, deque[CallFault]] = defaultdict(deque)
        self._starts: defaultdict[str, deque[StartFaults]] = defaultdict(deque)
        self._held_starts: dict[str, Hold] = {}
        self._held_list: tuple[Hold, int] | None = None
        self._vanished: set[str] = set()

    def refuse(self, method: MethodName, code: grpc.StatusCode, *, times: int = 1) -> None:
        """Answer the next calls of *method* with *code* and do nothing; 429 is RESOURCE_EXHAUSTED, 503 UNAVAILABLE."""
        self._plant(method, CallFault(refusal=code), times)

    def lose_reply(
        self, method: MethodName, *, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, times: int = 1
    ) -> None:
        """Do the work of the next calls of *method*, but tell the client *code*."""
        self._plant(method, CallFault(lost=code), times)

    def never_reply(self, method: MethodName, *, times: int = 1) -> None:
        """Do the work of the next calls of *method*, and let the client wait until its deadline."""
        self._plant(method, CallFault(silent=True), times)

    def delay(self, method: MethodName, *, before: float = 0.0, after: float = 0.0, times: int = 1) -> None:
        """
        Make the next calls of *method* slow, by seconds before and after the work.

        The work is done even when the client has given up by then, as it would be after a slow network.
        """
        self._plant(method, CallFault(before=before, after=after), times)

    def hold(self, method: MethodName, *, times: int = 1) -> Hold:
        """Keep the next calls of *method* from being worked on until the answer is released, then do the work."""
        hold = Hold()
        self._plant(method, CallFault(hold=hold), times)
        return hold

    def hold_starts(self, job: str) -> Hold:
        """Create executions of *job*, but do not start their processes until the answer is released."""
        hold = Hold()
        self._held_starts[job] = hold
        return hold

    def fail_image(self, job: str, *, reason: ImageFailure = ImageFailure.CONTAINER_MISSING, times: int = 1) -> None:
        """Let the next executions of *job* fail without a failed task, as when the image is missing."""
        self._starts[job].extend([StartFaults(image_failure=reason)] * times)

    def retry_spuriously(self, job: str, *, times: int = 1) -> None:
        """Let every task of the next executions of *job* run once more, however its first attempt ended."""
        self._starts[job].extend([StartFaults(spurious_retries=1)] * times)

    def vanish(self, execution_name: str) -> None:
        """Answer NotFound for this execution from now on; its processes run on."""
        self._vanished.add(execution_name)

    def freeze_list(self) -> Hold:
        """Let ListExecutions not know of executions created from now on, until the answer is released."""
        hold = Hold()
        self._held_list = (hold, self._created())
        return hold

    def next_call(self, method: str) -> CallFault:
        """Use up the next fault of *method*; one that does nothing when there is none."""
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
