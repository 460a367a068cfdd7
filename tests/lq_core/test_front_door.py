"""What ``import lq_core`` gives."""

import lq_core


def test_the_package_says_what_it_is_for() -> None:
    assert lq_core.__doc__
