"""Memory and SQLite behave as the model, for every sequence of steps."""

from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, settings

from lq_core.contracts import queue_backend_machine
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteConfig, SQLiteQueueBackend

# Explaining traces every line, which takes minutes before Python 3.12.
PHASES = set(Phase) - {Phase.explain}
NUMBERS = count()
FOLDER = TemporaryDirectory(prefix="lq-states-")


def in_a_new_file(clock: Callable[[], datetime]) -> SQLiteQueueBackend:
    """Make a backend with a new file."""
    path = Path(FOLDER.name) / f"{next(NUMBERS)}.db"
    return SQLiteQueueBackend(settings=SQLiteConfig(path=path, synchronous="NORMAL"), clock=clock)


TestMemoryStates = queue_backend_machine(lambda clock: InMemoryQueueBackend(clock=clock)).TestCase
TestMemoryStates.settings = settings(max_examples=50, stateful_step_count=40, deadline=None, phases=PHASES)

TestSQLiteStates = queue_backend_machine(in_a_new_file).TestCase
TestSQLiteStates.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow],
)
