"""The queue backend of docs/backends.md, dict_backend.py, passes the contract and behaves as the model."""

import pytest
from dict_backend import DictQueueBackend
from hypothesis import Phase, settings

from lq_core import BaseQueueBackend
from lq_core.contracts import QueueBackendContract, queue_backend_machine

# Explaining traces every line, which takes minutes before Python 3.12.
PHASES = set(Phase) - {Phase.explain}


class TestDictQueueBackend(QueueBackendContract):
    @pytest.fixture
    def queue(self) -> BaseQueueBackend:
        return DictQueueBackend()


TestDictStates = queue_backend_machine(lambda clock: DictQueueBackend(clock=clock)).TestCase
TestDictStates.settings = settings(max_examples=20, stateful_step_count=30, deadline=None, phases=PHASES)
