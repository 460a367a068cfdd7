"""``lq`` and ``python -m lq_core``: the command line, or what to install for it."""

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    """Run the command line of the extra ``cli``."""
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(f"The command lq needs {' and '.join(missing)}. Install it with: pip install 'lq-core[cli]'")
    import_module("lq_core.cli").main(prog_name="lq")


if __name__ == "__main__":
    main()
