"""The contract suites show their values when an assert fails."""

import pytest

pytest.register_assert_rewrite("lq_core.contracts")
