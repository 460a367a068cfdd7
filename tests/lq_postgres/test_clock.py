"""The database's clock, as it is known here."""

import time
from datetime import timedelta

import pytest

from lq_core.foundation.clock import utc_now
from lq_postgres.connection.clock import DatabaseClock


@pytest.mark.parametrize("hours", [1, -1])
def test_an_answer_is_old_when_this_machine_has_slept_or_its_clock_was_set(
    monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    clock = DatabaseClock()
    clock.was(utc_now() + timedelta(minutes=5))
    before = clock.is_old
    now = time.time
    monkeypatch.setattr("time.time", lambda: now() + hours * 3600)

    assert not before
    assert clock.is_old
    clock.was(utc_now())
    assert not clock.is_old
