"""
Where the time goes while one worker drains no-op tasks, by the part that spends it: ``./dev bench shares``.

The profiler adds a cost to each call, so code with many calls looks more expensive than it is.
"""

import asyncio
import cProfile
import threading
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from fixture import ARRIVALS, all_completed, nothing, stage

from lq_core import Worker

RECORDS: Final = 20_000
WAITING: Final = "waiting"
"""The time of a thread that waits for another one does not count."""

PARTS: Final = (
    (WAITING, ("'poll' of 'select", "'get' of '_queue", "'acquire' of '_thread")),
    ("SQLite: statements and commits", ("'sqlite3.",)),
    (
        "asyncio: tasks, futures, callbacks",
        ("/asyncio/", "/selectors.py", "'_asyncio.", "_asyncio.get", "_contextvars"),
    ),
    ("the backend and its batches", ("lq_core/queue/",)),
    ("the attempt: find, decode, call, encode", ("/attempt.py", "/codec.py", "/task.py", "/context.py", "msgspec")),
    ("the steps of the lifecycle", ("/lifecycle.py", "/record.py")),
    ("the worker and the runner", ("lq_core/",)),
)


class Profiler:
    """One profile for each thread that runs while it is on."""

    def __init__(self) -> None:
        self.profiles: list[cProfile.Profile] = []

    @contextmanager
    def on(self) -> Generator[None]:
        """Profile this thread, and the threads that start during that time."""
        threading.setprofile(self._begin)
        try:
            with cProfile.Profile() as mine:
                self.profiles.append(mine)
                yield
        finally:
            threading.setprofile(None)

    def _begin(self, *_: object) -> None:
        profile = cProfile.Profile()
        self.profiles.append(profile)
        profile.enable()

    def shares(self) -> dict[str, float]:
        """Return the seconds of each part, over all threads."""
        seconds = defaultdict[str, float](float)
        for profile in self.profiles:
            for entry in profile.getstats():
                place = entry.code if isinstance(entry.code, str) else entry.code.co_filename
                seconds[_part_of(place)] += entry.inlinetime
        return seconds


def _part_of(place: str) -> str:
    return next(
        (part for part, signs in PARTS if any(sign in place for sign in signs)),
        "functions of Python that all these call",
    )


async def _drain(queue_backend: str) -> dict[str, float]:
    profiler = Profiler()
    with profiler.on():
        async with stage(queue_backend, concurrency=100) as service:
            _ = await service.enqueue_many(nothing.call(number) for number in range(RECORDS))
            ARRIVALS.expect(RECORDS)
            async with Worker(service):
                _ = await all_completed(service, RECORDS)
    return profiler.shares()


def main() -> None:
    """Print one table for each queue backend."""
    for queue_backend in ("memory", "sqlite"):
        shares = asyncio.run(_drain(queue_backend))
        del shares[WAITING]
        total = sum(shares.values())
        print(f"\n| drain, {queue_backend}, concurrency 100 | share |\n|---|---:|")
        for part, seconds in sorted(shares.items(), key=lambda each: -each[1]):
            print(f"| {part} | {seconds / total:.0%} |")


if __name__ == "__main__":
    main()
