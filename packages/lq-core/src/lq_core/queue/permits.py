"""What limits count, for records that are kept in memory: what runs under each concurrency key, and the buckets."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from lq_core.queue.limits import Allowances, Subject
from lq_core.record import OWNED, QueuedTaskRecord


class Permits:
    """The permits and tokens that are spent; *running_in* counts what runs of a queue."""

    def __init__(self, running_in: Callable[[str], int]) -> None:
        self._running_in = running_in
        self._held: Counter[str] = Counter()
        self._buckets: dict[Subject, datetime] = {}

    def take(self, record: QueuedTaskRecord) -> None:
        """Count a record that somebody works on."""
        if record.concurrency_key is not None and record.status in OWNED:
            self._held[record.concurrency_key] += 1

    def give_back(self, record: QueuedTaskRecord) -> None:
        """Count it no more."""
        if record.concurrency_key is not None and record.status in OWNED:
            self._held[record.concurrency_key] -= 1
            if not self._held[record.concurrency_key]:
                del self._held[record.concurrency_key]

    def allowances(self, at: datetime) -> Allowances:
        """Tell what may start at a moment."""
        return Allowances(at, running=self._running, full_at=self._buckets.get)

    def keep(self, allowances: Allowances, at: datetime) -> None:
        """Keep the buckets that have changed, and forget those that are full."""
        if allowances.changed:
            buckets = {**self._buckets, **allowances.changed}
            self._buckets = {subject: full_at for subject, full_at in buckets.items() if full_at > at}

    def _running(self, subject: Subject) -> int:
        return self._held[subject.name] if subject.kind == "key" else self._running_in(subject.name)
