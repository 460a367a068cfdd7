"""Records in the memory of this process: the fastest store, which loses them when the process ends."""

from lq_core.queue.memory.backend import InMemoryQueueBackend

__all__ = ["InMemoryQueueBackend"]
