"""What a process answers to probes and scrapes: whether it is alive and ready, and its metrics."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol

from lq_core.observability.status_server import Answer
from lq_core.service import QueueService


class Exposition(Protocol):
    """The part of :class:`lq_core.observability.prometheus.PrometheusMetrics` that a scrape needs."""

    async def exposition(self, service: QueueService) -> bytes:
        """Write all metrics as text."""
        ...


class Claimer(Protocol):
    """The part of :class:`lq_core.Worker` that a probe needs."""

    @property
    def is_claiming(self) -> bool:
        """Whether it claims records."""
        ...

    @property
    def trouble(self) -> str | None:
        """What keeps it from claiming; None if nothing does."""
        ...


def probes(
    service: QueueService, worker: Claimer | None = None, metrics: Exposition | None = None
) -> Mapping[str, Callable[[], Awaitable[Answer]]]:
    """
    Make the paths of a status server.

    ``/healthz`` answers as long as the event loop runs. ``/readyz`` answers 503 while the database cannot be used, or
    the *worker* does not claim, or its claims have failed for ``heartbeat_timeout`` seconds. ``/metrics`` is there if
    there are *metrics*.
    """

    async def healthz() -> Answer:
        return Answer(HTTPStatus.OK, b"alive\n")

    async def readyz() -> Answer:
        if worker is not None and not worker.is_claiming:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"The worker starts, or shuts down.\n")
        if worker is not None and worker.trouble is not None:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{worker.trouble}\n".encode())
        await service.queues()
        return Answer(HTTPStatus.OK, b"ready\n")

    paths: dict[str, Callable[[], Awaitable[Answer]]] = {"/healthz": healthz, "/readyz": readyz}
    if metrics is not None:

        async def scraped() -> Answer:
            text = await metrics.exposition(service)
            return Answer(HTTPStatus.OK, text, "text/plain; version=0.0.4; charset=utf-8")

        paths["/metrics"] = scraped
    return paths
