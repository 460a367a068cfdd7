"""
For tests: a queue for those of an application, and what a backend has to pass, be it one of lq or one of yours.

An application takes :class:`QueueTestbed`, also as the fixture of :mod:`lq_core.testing.fixtures`. What backends owe
stands in plain pytest classes. A queue backend joins the suite in a few lines; both need ``lq-core[testing]``::

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
from lq_core.testing.testbed import QueueTestbed

__all__ = [
    "ExecutionBackendContract",
    "QueueBackendContract",
    "QueueBackendMachine",
    "QueueTestbed",
    "a_claim",
    "a_record",
    "a_swap",
    "a_worker",
    "claimed",
    "opened",
    "queue_backend_machine",
]
