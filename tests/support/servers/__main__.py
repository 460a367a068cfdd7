"""Installs the missing programs of the system: ``PYTHONPATH=tests/support python -m servers``."""

import sys

from servers.system_program import EVERY

try:
    for program in EVERY:
        program.install()
except LookupError as error:
    sys.exit(str(error))
