"""
The signals that stop a worker, heard in a thread.

A task that blocks the event loop, or a library that hangs, cannot delay them.
"""

import asyncio
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # A closing terminal sends SIGHUP; Windows has none.

STDERR: Final = 2
LAST_WORDS: Final = 0.5
"""Seconds for the message of a process that is ended by force: nobody may read it."""


class StopSignals:
    """
    Counts the signals that ask this process to stop, and ends it by force if it does not.

    *limits* are the seconds from the first signal to a forced end, and from the second one; the third signal ends the
    process at once. The exit code is then 128 and the number of the first signal, as a shell reports it: 130 for
    Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, *limits: float) -> None:
        self._limits = limits
        self._asked: list[int] = []
        self._heeded: frozenset[int] = frozenset()
        self._reader, self._writer = socket.socketpair()

    @property
    def code(self) -> int:
        """The exit code of a forced end; 1 if there was no signal."""
        return 128 + self._asked[0] if self._asked else 1

    def call(self, ask: Callable[[int], None]) -> None:
        """
        From now on, call *ask* in the running event loop for the first signal and the second one, with their count.

        Call this in the main thread. The process is expected to end when *ask* was called.
        """
        # `nohup` ignores SIGHUP on purpose. A shell ignores SIGINT for `&` jobs, but the worker must react to it.
        asked_for = (signal.SIGINT, signal.SIGTERM)
        heeded = [one for one in SIGNALS if one in asked_for or signal.getsignal(one) is not signal.SIG_IGN]
        self._heeded = frozenset(map(int, heeded))
        self._writer.settimeout(0)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, ask), name="lq signals", daemon=True).start()
        for number in heeded:
            signal.signal(number, _do_nothing)

    def _listen(self, loop: asyncio.AbstractEventLoop, ask: Callable[[int], None]) -> None:
        timeout: float | None = None
        while True:
            began = time.monotonic()
            if not select.select([self._reader], [], [], timeout)[0]:
                self._force("it did not stop in time")
            if timeout is not None:
                timeout = max(0.0, timeout - (time.monotonic() - began))
            (number,) = self._reader.recv(1)
            if number in self._heeded:
                self._asked.append(number)
                count = len(self._asked)
                if count > len(self._limits):
                    self._force(f"signal {count} asked for it")
                timeout = self._limits[count - 1]
                with suppress(RuntimeError):  # The event loop may have ended.
                    loop.call_soon_threadsafe(ask, count)

    def _force(self, reason: str) -> None:
        text = f"Ended by force: {reason}.\n".encode()
        last_words = threading.Thread(target=os.write, args=(STDERR, text), daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS)
        os._exit(self.code)


def _do_nothing(number: int, frame: object) -> None:
    """Let Python write the number of the signal to the thread that listens."""
