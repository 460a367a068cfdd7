"""What ``import lq_local`` gives."""

import lq_local


def test_the_package_says_what_it_is_for() -> None:
    assert lq_local.__doc__
