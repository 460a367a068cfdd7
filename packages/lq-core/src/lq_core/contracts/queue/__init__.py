"""The suite of queue backends, by theme, and the state machine."""

from lq_core.contracts.queue.contract import QueueBackendContract
from lq_core.contracts.queue.fairness import FairnessContract
from lq_core.contracts.queue.state_machine import QueueBackendMachine, queue_backend_machine

__all__ = ["FairnessContract", "QueueBackendContract", "QueueBackendMachine", "queue_backend_machine"]
