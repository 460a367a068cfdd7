"""``lq-cloudrun``: the command line, or what to install for it."""

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    """Run the command line of the extra ``cli``."""
    if find_spec("click") is None:
        sys.exit("The command lq-cloudrun needs click. Install it with: pip install 'lq-cloudrun[cli]'")
    import_module("lq_cloudrun.cli").main(prog_name="lq-cloudrun")
