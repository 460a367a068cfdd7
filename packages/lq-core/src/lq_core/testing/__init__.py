"""
A kit for the tests of applications: a queue in memory, with a clock that the test moves.

:class:`QueueTestbed` needs nothing but lq-core; :mod:`lq_core.testing.fixtures` needs ``lq-core[testing]``.
"""

from lq_core.testing.direct import task_context
from lq_core.testing.testbed import QueueTestbed

__all__ = ["QueueTestbed", "task_context"]
