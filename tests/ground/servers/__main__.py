"""Installs what the servers need and the machine lacks: ``PYTHONPATH=tests/ground python -m servers``."""

from servers.pgbouncer import install_pgbouncer

install_pgbouncer()
