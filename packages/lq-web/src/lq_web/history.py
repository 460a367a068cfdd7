"""How many records ended in each minute of the last hours, as points of a chart."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final

from litestar.params import Parameter
from msgspec import Struct

from lq_core import QueueService, TaskStatus
from lq_core.queue import Rollup
from lq_core.queue.rollups import BUCKETS, COUNTED, merged, quantile

LONGEST: Final = 2 * 24 * 60
"""The minutes that stores keep."""

POINTS: Final = 60
"""The most points of a chart; a longer span has longer steps."""

Minutes = Annotated[int, Parameter(ge=1, le=LONGEST, description="The length of the span; two days are kept.")]


class Point(Struct, frozen=True, kw_only=True):
    """What ended in one step; durations are estimates in seconds, None if none was measured."""

    at: datetime
    """The beginning of the step."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    wait_p50: float | None = None
    wait_p95: float | None = None
    run_p50: float | None = None
    run_p95: float | None = None


class History(Struct, frozen=True, kw_only=True):
    """The points of a span, oldest first, without gaps."""

    step: int
    """The minutes of one point."""

    queue: str | None
    """None for all queues."""

    points: Sequence[Point]

    waits: float | None
    """Within how many seconds 95 % of the measured records of the whole span started."""

    @property
    def completed(self) -> int:
        """How many records completed in the whole span."""
        return sum(point.completed for point in self.points)

    @property
    def failed(self) -> int:
        """How many records failed in the whole span."""
        return sum(point.failed for point in self.points)


async def history(service: QueueService, *, minutes: int = 60, queue: str | None = None) -> History:
    """Read what has ended in the last *minutes*, in one queue or in all."""
    step = -(-minutes // POINTS)
    now = service.queue_backend.now().replace(second=0, microsecond=0)
    found = await service.rollups(minutes=minutes, queue=queue)
    count = -(-minutes // step)
    begin = now - timedelta(minutes=step * count - 1)
    steps: list[list[Rollup]] = [[] for _ in range(count)]
    for rollup in found:
        place = (rollup.minute - begin) // timedelta(minutes=step)
        if 0 <= place < count:
            steps[place].append(rollup)
    points = [_point(begin + timedelta(minutes=step * place), some) for place, some in enumerate(steps)]
    waits = quantile(merged(found)[len(COUNTED) :][:BUCKETS], 0.95) if found else None
    return History(step=step, queue=queue, points=points, waits=waits)


def _point(at: datetime, rollups: Sequence[Rollup]) -> Point:
    if not rollups:
        return Point(at=at)
    total = Rollup.of_numbers(at, "", merged(rollups))
    return Point(
        at=at,
        completed=total.count(TaskStatus.COMPLETED),
        failed=total.count(TaskStatus.FAILED),
        cancelled=total.count(TaskStatus.CANCELLED),
        expired=total.count(TaskStatus.EXPIRED),
        wait_p50=quantile(total.waits, 0.5),
        wait_p95=quantile(total.waits, 0.95),
        run_p50=quantile(total.runs, 0.5),
        run_p95=quantile(total.runs, 0.95),
    )
