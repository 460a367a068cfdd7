"""The docstring of ``lq_litestar``."""

import lq_litestar


def test_the_package_has_a_docstring() -> None:
    assert lq_litestar.__doc__
