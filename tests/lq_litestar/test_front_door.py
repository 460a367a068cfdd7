"""What ``import lq_litestar`` gives."""

import lq_litestar


def test_the_package_says_what_it_is_for() -> None:
    assert lq_litestar.__doc__
