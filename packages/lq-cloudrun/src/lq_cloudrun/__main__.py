"""``python -m lq_cloudrun`` runs the record of this container; ``lq-cloudrun`` is the command line."""

import sys
from importlib import import_module
from importlib.util import find_spec

from lq_cloudrun.entrypoint import main


def command() -> None:
    """Run the command line of the extra ``cli``."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(
            f"The command lq-cloudrun needs {' and '.join(missing)}. Install it with: pip install 'lq-cloudrun[cli]'"
        )
    import_module("lq_cloudrun.cli").main(prog_name="lq-cloudrun")


if __name__ == "__main__":
    main()
