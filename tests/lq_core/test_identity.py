"""Record ids: unique, in order, and as RFC 9562 has them."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from lq_core.records.identity import id_of, new_id, new_worker_id


def test_an_id_is_a_uuid_of_version_7_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= (made.int >> 80) <= time.time_ns() // 1_000_000


def test_ids_of_one_process_rise_and_never_repeat() -> None:
    made = [new_id() for _ in range(50_000)]

    assert made == sorted(set(made))


def test_what_happens_under_a_name_at_a_moment_has_one_id() -> None:
    moment = datetime(2026, 3, 29, 1, 0, 0, 1, tzinfo=UTC)
    made = id_of("nightly", moment)

    assert made == id_of("nightly", moment.astimezone(timezone(timedelta(hours=2))))
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == int(moment.timestamp() * 1000)
    assert len({made, id_of("nightly", moment + timedelta.resolution), id_of("hourly", moment)}) == 3


def test_ids_rise_also_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [new_id() for _ in range(100)]
    hour_ago = time.time_ns() - 3_600_000_000_000
    monkeypatch.setattr("time.time_ns", lambda: hour_ago)

    after = [new_id() for _ in range(100)]

    assert [*before, *after] == sorted({*before, *after})


def test_a_worker_id_is_never_used_twice() -> None:
    assert new_worker_id() != new_worker_id()


def test_a_fork_makes_other_ids_than_the_process_that_has_forked() -> None:
    program = (
        "import os, time; from lq_core.records.identity import new_id\n"
        "now = time.time_ns(); time.time_ns = lambda: now\n"
        "ids = [new_id() for _ in range(10)]\n"
        "child = os.fork()\n"
        "ids = [new_id() for _ in range(2_000)]\n"
        "child and os.waitpid(child, 0)\n"
        "print(*ids, flush=True)"
    )
    made = subprocess.check_output([sys.executable, "-c", program], text=True).split()

    assert len(made) == len(set(made)) == 4_000
