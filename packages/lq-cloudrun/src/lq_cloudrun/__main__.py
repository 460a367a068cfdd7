"""Runs the record of this container: ``python -m lq_cloudrun``."""

from lq_cloudrun.entrypoint import main

main()
