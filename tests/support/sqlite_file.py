"""Records that a test stores in the SQLite file of an application, and reads from it."""

from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from lq_core import QueueConfig, QueuedTaskRecord, QueueService
from lq_core.queue.sqlite import SQLiteConfig
from lq_core.records.identity import new_id


class SQLiteFile:
    """The records of one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._config = QueueConfig(queue_backend=SQLiteConfig(path=path))

    async def put(
        self,
        task_name: str,
        *,
        arguments: str = "{}",
        queue: str = "default",
        execution_backend: str = "here",
        metadata: Mapping[str, str] | None = None,
        log_url: str | None = None,
    ) -> QueuedTaskRecord:
        """Store a record that is due."""
        async with QueueService(self._config) as service:
            at = service.queue_backend.now()
            record = QueuedTaskRecord(
                id=new_id(),
                task_name=task_name,
                arguments=arguments,
                queue=queue,
                execution_backend=execution_backend,
                metadata=dict(metadata or {}),
                log_url=log_url,
                created_at=at,
                scheduled_at=at,
            )
            await service.queue_backend.insert([record])
        return record

    async def read(self, record_id: UUID) -> QueuedTaskRecord:
        """Read a record as it is now."""
        async with QueueService(self._config) as service:
            found = await service.get(record_id)
        assert found is not None
        return found
