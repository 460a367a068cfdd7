"""
The program of the container, by the name under which images run it: ``python -m lq_cloudrun.entrypoint``.

The package imports the program from its room, so that Python does not find this module imported before it runs.
"""

from lq_cloudrun.container.program import execute_cloudrun_task, main
from lq_cloudrun.executions.status import CloudRunExitCode

__all__ = ["CloudRunExitCode", "execute_cloudrun_task", "main"]

if __name__ == "__main__":
    main()
