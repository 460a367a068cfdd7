"""The suite of queue backends, put together from its themes."""

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'lq_core.contracts needs its extra: pip install "lq-core[contracts]"', name=error.name
    ) from error

from lq_core.contracts.queue.actions import ActionContract
from lq_core.contracts.queue.cancellation import CancellationContract
from lq_core.contracts.queue.claims import ClaimContract
from lq_core.contracts.queue.concurrency import ConcurrencyContract
from lq_core.contracts.queue.diagnosis import DiagnosisContract
from lq_core.contracts.queue.inserts import InsertContract
from lq_core.contracts.queue.keys import KeyContract
from lq_core.contracts.queue.limits import LimitContract
from lq_core.contracts.queue.predecessors import PredecessorContract
from lq_core.contracts.queue.reading import ReadingContract
from lq_core.contracts.queue.retention import RetentionContract
from lq_core.contracts.queue.rollups import RollupContract
from lq_core.contracts.queue.schedules import ScheduleContract
from lq_core.contracts.queue.search import SearchContract
from lq_core.contracts.queue.steps import StepContract
from lq_core.contracts.queue.swaps import SwapContract
from lq_core.contracts.queue.versions import VersionContract
from lq_core.contracts.queue.waiting import WaitingContract
from lq_core.contracts.queue.workers import WorkerContract


@pytest.mark.asyncio
class QueueBackendContract(
    InsertContract,
    KeyContract,
    ClaimContract,
    SwapContract,
    StepContract,
    CancellationContract,
    WaitingContract,
    PredecessorContract,
    WorkerContract,
    ReadingContract,
    SearchContract,
    RetentionContract,
    RollupContract,
    ActionContract,
    VersionContract,
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
