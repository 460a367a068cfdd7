"""The contract's asserts show their values."""

import pytest

pytest.register_assert_rewrite("lq_core.contracts")
