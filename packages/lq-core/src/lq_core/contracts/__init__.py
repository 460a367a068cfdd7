"""
The tests that every backend must pass, as plain pytest classes for its author.

A queue backend joins the suite in a few lines; they need ``lq-core[contracts]``::

    class TestMyQueueBackend(QueueBackendContract):
        @pytest_asyncio.fixture
        async def queue(self) -> AsyncIterator[BaseQueueBackend]:
            async with opened(MyQueueBackend()) as queue:
                yield queue

Put ``pytest.register_assert_rewrite("lq_core.contracts")`` into your ``conftest.py``, before the first import of this
module, or a failing assert shows no values. :func:`queue_backend_machine` makes a Hypothesis state machine that
drives a backend and a model of the pure lifecycle side by side.
"""

from lq_core.contracts.execution import ExecutionBackendContract
from lq_core.contracts.queue import FairnessContract, QueueBackendContract, QueueBackendMachine, queue_backend_machine
from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed, opened

__all__ = [
    "ExecutionBackendContract",
    "FairnessContract",
    "QueueBackendContract",
    "QueueBackendMachine",
    "a_claim",
    "a_record",
    "a_swap",
    "a_worker",
    "claimed",
    "opened",
    "queue_backend_machine",
]
