"""Ends a process, although threads and tasks that nobody can stop are left running in it."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

PARTING: Final = 1.0
"""Seconds that the threads of a process have to end after its main thread has ended."""


class _LeavingExecutor(ThreadPoolExecutor):
    """Does not wait for its threads."""

    def shutdown(self, *_: object, **__: object) -> None:
        super().shutdown(wait=False)


def leave_threads() -> None:
    """Let the running event loop end without a wait for the threads of its default executor."""
    asyncio.get_running_loop().set_default_executor(_LeavingExecutor(thread_name_prefix="asyncio"))


def end_with(code: int) -> None:
    """
    Let the process end with *code*, ``PARTING`` seconds after its main thread, if threads then still run.

    Python waits for most threads at the end of a process, and for those of executors always.
    """
    ending = threading.Event()
    threading.Thread(target=_end_after, args=(ending, code), name="lq process end", daemon=True).start()
    # What `atexit` registers runs only after Python has waited.
    threading._register_atexit(ending.set)  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] -- no public hook runs first


def _end_after(ending: threading.Event, code: int) -> None:
    ending.wait()
    time.sleep(PARTING)
    os._exit(code)
