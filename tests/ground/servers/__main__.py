"""Installs what the servers need and the machine lacks: ``PYTHONPATH=tests/ground python -m servers``."""

import sys

from servers.pgbouncer import install_pgbouncer

try:
    install_pgbouncer()
except LookupError as error:
    sys.exit(str(error))
