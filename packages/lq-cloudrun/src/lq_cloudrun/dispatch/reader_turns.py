"""
Whose turn it is: one worker at a time reads the executions of a job, so that many workers make no more calls than one.

There is no leader and no lease. Each worker ranks the registered workers for each job by a hash, and the first reads.
All see the same workers and the same clock, so they agree. Where they disagree for a moment, two workers read or none
does, and no record is harmed. After each term the ranking changes, so that a worker that may not read does not stay.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from lq_cloudrun.dispatch.pacer import live_workers
from lq_core.execution import ExecutionService
from lq_core.queue import WorkerInfo

TERM: Final = 300.0
"""Seconds until another worker may get the turn."""


class Turns:
    """The turns of the workers of this process, among the live workers that dispatch to the backend *name*."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def ours(self, service: ExecutionService, jobs: Iterable[str]) -> frozenset[str]:
        """Return those of *jobs* whose executions this process reads now."""
        rivals, term = await self.rivals(service), term_of(service.queue_backend.now())
        return frozenset(job for job in jobs if has_turn(job, rivals, own=service.worker_ids, term=term))

    async def rivals(self, service: ExecutionService) -> list[WorkerInfo]:
        """Read the live workers that dispatch to this backend."""
        return [
            worker
            for worker in await live_workers(service)
            if self._name in worker.execution_backends and not worker.has_given_up
        ]


def term_of(moment: datetime) -> int:
    """Return the number of the term that a moment is in."""
    return int(moment.timestamp() // TERM)


def has_turn(subject: str, rivals: Iterable[WorkerInfo], *, own: frozenset[str], term: int) -> bool:
    """Whether one of our *own* workers is first for *subject*. Without rivals, it is our turn."""
    from hashlib import sha256  # noqa: PLC0415 -- it loads OpenSSL, and a container never asks

    ranked = sorted(rivals, key=lambda worker: sha256(f"{term} {subject} {worker.id}".encode()).digest())
    return not ranked or ranked[0].id in own
