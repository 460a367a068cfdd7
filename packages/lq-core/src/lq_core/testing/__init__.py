"""
What a backend has to pass: plain pytest classes, for the backends of lq and for yours.

A queue backend joins the suite in a few lines, and needs the extra ``lq-core[testing]``::

    class TestMyQueueBackend(QueueBackendContract):
        @pytest_asyncio.fixture
        async def queue(self) -> AsyncIterator[BaseQueueBackend]:
            async with opened(MyQueueBackend()) as queue:
                yield queue

Say ``pytest.register_assert_rewrite("lq_core.testing")`` in your ``conftest.py``, before the first import of this
module, or a failing assert shows no values. :func:`queue_backend_machine` makes a Hypothesis state machine that
drives a backend and a model of the pure lifecycle side by side.
"""

from lq_core.testing.execution import ExecutionBackendContract
from lq_core.testing.queue import QueueBackendContract, QueueBackendMachine, queue_backend_machine
from lq_core.testing.records import a_claim, a_record, a_swap, a_worker, claimed, opened

__all__ = [
    "ExecutionBackendContract",
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
