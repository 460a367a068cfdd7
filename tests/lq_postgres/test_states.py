"""PostgreSQL cannot be told from the model, whatever is done to it."""

from collections.abc import Callable
from datetime import datetime
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from lq_core.contracts import queue_backend_machine
from lq_postgres import PostgresConfig, PostgresQueueBackend
from servers.fixtures import Database

NUMBERS = count(1)


@pytest.mark.timeout(240)
def test_no_sequence_of_steps_tells_it_from_the_model(database: Database) -> None:
    def in_a_new_schema(clock: Callable[[], datetime]) -> PostgresQueueBackend:
        config = PostgresConfig(dsn=database.dsn, schema=f"lq_{next(NUMBERS)}", poll_only=True)
        return PostgresQueueBackend(settings=config, clock=clock)

    run_state_machine_as_test(
        queue_backend_machine(in_a_new_schema),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            phases=set(Phase) - {Phase.explain},  # Explaining traces every line: minutes before Python 3.12.
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
