"""How long a failed record waits: never so long that no moment could say it."""

import pytest

from lq_core import Backoff
from lq_core.foundation.clock import LONGEST_WAIT
from lq_core.records.backoff import backoff_delay


def test_a_wait_grows_up_to_its_cap() -> None:
    policy = Backoff(base=1, factor=2, cap=6, jitter=0)

    assert [backoff_delay(policy, failures) for failures in (1, 2, 3, 4, 5000)] == [1, 2, 4, 6, 6]


@pytest.mark.parametrize("policy", [Backoff(factor=1e10, cap=1e300), Backoff(base=1e300, cap=float("inf"))])
def test_a_wait_beyond_all_measure_is_cut(policy: Backoff) -> None:
    assert backoff_delay(policy, 50) <= 2 * LONGEST_WAIT
