"""A thread that repeats a step, so that it does not depend on the event loop."""

import threading
from collections.abc import Callable
from typing import Final

PARTING: Final = 1.0
"""Seconds that :meth:`Ticker.stop` waits for a step that has begun."""


class Ticker:
    """Repeats a step, which must not raise, in a daemon thread, until it returns False."""

    def __init__(self, step: Callable[[], bool], *, name: str, interval: float) -> None:
        self._step = step
        self._interval = interval
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Take the first step after *interval* seconds, and then repeat it."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more steps. You may stop twice."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(PARTING)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            if not self._step():
                return
