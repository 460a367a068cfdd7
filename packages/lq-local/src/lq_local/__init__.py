"""Runs lq records in this process: inline during their enqueue, or in a local worker."""

from lq_local.immediate import ImmediateExecutionBackend
from lq_local.local import LocalExecutionBackend

__all__ = ["ImmediateExecutionBackend", "LocalExecutionBackend"]
