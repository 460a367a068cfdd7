"""
Scales a Cloud Run worker pool by the demand of a queue, to zero and back.

The scaler keeps no state: it reads the pool each time, and writes the new count with the etag that it has read. So it
can run anywhere, once a minute or all the time, and several at once do no harm.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from msgspec import Meta

from lq_cloudrun.clients import WorkerPoolsClient
from lq_cloudrun.google.refusal import code_of
from lq_core.foundation.duration import duration
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.event_log import event_log
from lq_core.foundation.validation import Count, CountOrZero, PositiveSecondsField, SecondsField, check
from lq_core.service import Demand, QueueService

log = event_log("lq.cloudrun")

MASK: Final = "scaling.manual_instance_count"
"""The only field that the scaler writes, so that it never undoes a deployment."""


@dataclass(frozen=True, kw_only=True)
class PoolScaling:
    """How to scale one worker pool. Raises ConfigurationError for values that cannot work."""

    pool: Annotated[
        str,
        Meta(
            pattern=r"^projects/[^/\s]+/locations/[^/\s]+/workerPools/[a-z]([-a-z0-9]*[a-z0-9])?\Z",
            description="the full name of a worker pool: 'projects/…/locations/…/workerPools/…'",
        ),
    ]
    min_instances: CountOrZero = 0
    max_instances: Count = 10
    target_wait: PositiveSecondsField = duration(60.0)
    """How long a due record may wait for its start; the start of an instance takes a part of it."""

    concurrency: Count | None = None
    """How many records one instance runs at once; None for ``QueueConfig.concurrency``."""

    queues: tuple[str, ...] | None = None
    """The queues whose records count; None for ``QueueConfig.queues``."""

    scale_in_after: SecondsField = duration(300.0)
    """How long after the last change of the pool instances may be taken away. More instances are started at once."""

    rpc_timeout: PositiveSecondsField = duration(30.0)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        check(self)
        if self.min_instances > self.max_instances:
            raise ConfigurationError(
                f"min_instances is {self.min_instances} and max_instances {self.max_instances}; raise the latter."
            )


@dataclass(frozen=True, kw_only=True)
class PoolStep:
    """What one look at a pool has found and done."""

    before: int
    """The instances of the pool at the look."""

    after: int
    demand: Demand
    waits: float = 0.0
    """In how many seconds the pool may shrink, if it is larger than wanted."""


class PoolScaler:
    """Scales one pool by the demand of *service*, with Google's *client*."""

    def __init__(self, service: QueueService, settings: PoolScaling, client: WorkerPoolsClient) -> None:
        self._service = service
        self._settings = settings
        self._client = client

    async def step(self) -> PoolStep:
        """
        Set the number of instances to what the work needs now.

        Raises StorageError, and Google's errors. If somebody else changes the pool at the same time, nothing is done.
        """
        settings = self._settings
        demand = await self._service.demand(
            target_wait=settings.target_wait, concurrency=settings.concurrency, queues=settings.queues
        )
        pool: Any = await self._client.get_worker_pool(name=settings.pool, timeout=settings.rpc_timeout)
        before = int(pool.scaling.manual_instance_count)
        after = min(max(demand.workers_wanted, settings.min_instances), settings.max_instances)
        waits = self._waits(pool) if after < before else 0.0
        if after == before or waits:
            return PoolStep(before=before, after=before, demand=demand, waits=waits)
        if not await self._set(pool, after):
            return PoolStep(before=before, after=before, demand=demand)
        facts = {"pool": settings.pool, "before": before, "after": after, "due": demand.due, "running": demand.running}
        log.info("cloudrun.pool_scaled", extra={**facts, "oldest_wait": round(demand.oldest_wait, 1)})
        return PoolStep(before=before, after=after, demand=demand)

    def _waits(self, pool: Any) -> float:
        """Return in how many seconds the pool may shrink; 0 if it may now."""
        may = pool.update_time + timedelta(seconds=float(self._settings.scale_in_after))
        return max(0.0, (may - datetime.now(UTC)).total_seconds())

    async def _set(self, pool: Any, count: int) -> bool:
        changed = {"name": pool.name, "etag": pool.etag, "scaling": {"manual_instance_count": count}}
        request = {"worker_pool": changed, "update_mask": {"paths": [MASK]}}
        try:
            await self._client.update_worker_pool(request=request, timeout=self._settings.rpc_timeout)
        except Exception as error:
            if code_of(error) != "ABORTED":
                raise
            log.info("cloudrun.pool_changed_meanwhile", extra={"pool": self._settings.pool})
            return False
        return True
