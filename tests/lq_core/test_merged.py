"""The numbers of several stores, added."""

from datetime import timedelta

from lq_core import DueRecords, Statistics, TaskStatus
from lq_core.foundation.clock import utc_now
from lq_core.service import merged


def test_statistics_are_as_old_as_the_oldest_of_them() -> None:
    now = utc_now()
    kept = Statistics(counts={"mail": {TaskStatus.PENDING: 3}}, due={"mail": DueRecords(3, now)}, age=12.5)
    earlier = DueRecords(2, now - timedelta(minutes=1))
    made_now = Statistics(counts={"mail": {TaskStatus.PENDING: 4}}, due={"mail": earlier})

    together = merged.statistics([kept, made_now])

    assert together.age == 12.5
    assert together.counts == {"mail": {TaskStatus.PENDING: 7}}
    assert together.due == {"mail": DueRecords(5, earlier.oldest)}
