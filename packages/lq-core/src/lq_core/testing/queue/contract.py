"""The suite of queue backends, put together from its themes."""

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'lq_core.testing needs its extra: pip install "lq-core[testing]"', name=error.name
    ) from error

from lq_core.testing.queue.cancellation import CancellationContract
from lq_core.testing.queue.claims import ClaimContract
from lq_core.testing.queue.concurrency import ConcurrencyContract
from lq_core.testing.queue.diagnosis import DiagnosisContract
from lq_core.testing.queue.inserts import InsertContract
from lq_core.testing.queue.keys import KeyContract
from lq_core.testing.queue.limits import LimitContract
from lq_core.testing.queue.predecessors import PredecessorContract
from lq_core.testing.queue.reading import ReadingContract
from lq_core.testing.queue.retention import RetentionContract
from lq_core.testing.queue.schedules import ScheduleContract
from lq_core.testing.queue.swaps import SwapContract
from lq_core.testing.queue.waiting import WaitingContract
from lq_core.testing.queue.workers import WorkerContract


@pytest.mark.asyncio
class QueueBackendContract(
    InsertContract,
    KeyContract,
    ClaimContract,
    SwapContract,
    CancellationContract,
    WaitingContract,
    PredecessorContract,
    WorkerContract,
    ReadingContract,
    RetentionContract,
    ScheduleContract,
    DiagnosisContract,
    ConcurrencyContract,
    LimitContract,
):
    """
    What a queue backend owes, one test a promise.

    Subclass it as ``TestSomething`` and give it a fixture ``queue``: an open, empty backend. A backend is done
    when it inherits this class and passes.
    """
