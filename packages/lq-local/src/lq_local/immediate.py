"""Runs a record inline: in the current event loop, while it is enqueued."""

from typing import ClassVar

from lq_local.local import LocalExecutionBackend


class ImmediateExecutionBackend(LocalExecutionBackend):
    """
    Runs a record during its enqueue, in the current event loop; ``enqueue`` returns when the attempt has ended.

    The record is stored as running first, so that a crash loses nothing. A delayed record, and a retry, wait
    for a worker.
    """

    inline: ClassVar[bool] = True
