"""The suite of queue backends, by theme, and the state machine."""

from lq_core.testing.queue.contract import QueueBackendContract
from lq_core.testing.queue.machine import QueueBackendMachine, queue_backend_machine

__all__ = ["QueueBackendContract", "QueueBackendMachine", "queue_backend_machine"]
