"""Record ids: unique, in order, and as RFC 9562 has them."""

import time

from lq_core.identity import new_id, new_worker_id


def test_an_id_is_a_uuid_of_version_7_that_tells_the_time() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()

    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert before <= (made.int >> 80) <= time.time_ns() // 1_000_000


def test_ids_of_one_process_rise_and_never_repeat() -> None:
    made = [new_id() for _ in range(50_000)]

    assert made == sorted(set(made))


def test_a_worker_id_is_never_used_twice() -> None:
    assert new_worker_id() != new_worker_id()
