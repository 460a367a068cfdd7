"""A job as the emulator keeps it: the job, and the facts that the service adds."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import uuid4

from lq_cloudrun.emulator.job import EmulatedJob


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptJob:
    """One version of one job."""

    name: str
    """The full name."""

    job: EmulatedJob
    uid: str = field(default_factory=lambda: str(uuid4()))
    generation: int = 1
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    deleted_at: datetime | None = None

    @property
    def etag(self) -> str:
        """The fingerprint of this version."""
        return f'"{self.uid[:8]}-{self.generation}"'

    def changed_to(self, job: EmulatedJob) -> "KeptJob":
        """Return the next version, for another job of the same name."""
        return replace(self, job=job, generation=self.generation + 1, updated_at=datetime.now(UTC))

    def deleted(self) -> "KeptJob":
        """Return the last version."""
        return replace(self, generation=self.generation + 1, deleted_at=datetime.now(UTC))
