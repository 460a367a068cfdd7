"""
Faults at every step: the steps of the asyncio tasks of one event loop are counted, and one of them fails.

A step is the beginning of an asyncio task, or a place where it waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from enum import StrEnum
from itertools import count
from typing import Any, Final, TypeAlias, TypeVar

from typing_extensions import override

Answer = TypeVar("Answer")

Due: TypeAlias = Callable[[int, str], bool]
"""Whether a step fails, by its number and its place."""

WITHIN: Final = " > "
"""Stands between a coroutine and the one that it awaits."""

PATIENCE: Final = 10.0
"""The most seconds that a test waits for an answer."""


class Fault(StrEnum):
    """What happens at the step."""

    CANCELLED = "cancelled"
    """The asyncio task is cancelled."""

    EXIT = "exit"
    """It goes on with SystemExit, as a signal handler may raise it; this ends the event loop, too."""


class Steps:
    """Counts the steps of the asyncio tasks that are made while it is installed; the first that *is_due* fails."""

    def __init__(self, fault: Fault, is_due: Due) -> None:
        self.fault = fault
        self.victim: asyncio.Task[Any] | None = None
        """The asyncio task that the fault has hit."""

        self.place = ""
        """Where it was."""

        self.taken = 0
        """How many steps there were."""

        self._is_due: Due | None = is_due
        self._exempt = set[int]()

    def install(self) -> None:
        """Count in the running event loop from now on."""
        asyncio.get_running_loop().set_task_factory(self._make)

    def end(self) -> None:
        """Count no more."""
        self._is_due = None
        asyncio.get_running_loop().set_task_factory(None)

    def exempt(self, coroutine: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Make an asyncio task whose steps are not counted."""
        self._exempt.add(id(coroutine))
        return asyncio.create_task(coroutine)

    def take(self, task: asyncio.Task[Any], place: str) -> bool:
        """Count a step; True if it fails."""
        self.taken += 1
        if self._is_due is None or self.victim is not None or not self._is_due(self.taken, place):
            return False
        self.victim, self.place = task, place
        if self.fault is Fault.CANCELLED:
            task.cancel()
        return True

    def _make(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        if id(coroutine) in self._exempt:
            self._exempt.remove(id(coroutine))
            return asyncio.Task(coroutine, loop=loop, **options)
        stepping = _Stepping(coroutine, self)
        task = asyncio.Task(stepping, loop=loop, **options)
        stepping.is_due = self.take(task, f"{coroutine.__qualname__} before it begins")
        return task


class _Stepping(Coroutine[Any, Any, Answer]):
    """A coroutine whose steps are counted."""

    def __init__(self, coroutine: Coroutine[Any, Any, Answer], steps: Steps) -> None:
        self.is_due = False
        """Whether the next step fails."""

        self._coroutine = coroutine
        self._steps = steps

    @override
    def send(self, value: Any) -> Any:
        if self.is_due and self._steps.fault is Fault.EXIT:
            self.is_due = False
            return self._after(self._coroutine.throw(SystemExit("a signal")))
        return self._after(self._coroutine.send(value))

    @override
    def throw(self, *error: Any) -> Any:
        return self._after(self._coroutine.throw(*error))

    @override
    def close(self) -> None:
        self._coroutine.close()

    @override
    def __await__(self) -> Generator[Any, Any, Answer]:
        return self._coroutine.__await__()

    def _after(self, waits_for: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self.is_due = self._steps.take(task, _place_of(self._coroutine))
        return waits_for


def _place_of(coroutine: object) -> str:
    names = list[str]()
    inner: object | None = coroutine
    while inner is not None:
        names.append(getattr(inner, "__qualname__", type(inner).__name__))
        inner = getattr(inner, "cr_await", None)
    return WITHIN.join(names)


def run_on(coroutine: Coroutine[Any, Any, Answer]) -> Answer:
    """Run in a new event loop, which goes on after SystemExit, as the one of ``SyncQueueService`` does."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        loop.set_exception_handler(lambda _loop, _context: None)  # Nobody asks some asyncio tasks for the SystemExit.
        running = loop.create_task(coroutine)
        while not running.done():
            with suppress(SystemExit):
                loop.run_until_complete(running)
        return running.result()


Play: TypeAlias = Callable[[Steps], Awaitable[Mapping[str, str]]]
"""Runs a scenario, and returns its problems by name."""


async def problems_at_every_step(fault: Fault, play: Play) -> list[str]:
    """Play a scenario once for each of its steps, with a fault at this step, and return the problems that it finds."""
    found = list[str]()
    for number in count(1):
        steps = Steps(fault, lambda taken, _, at=number: taken == at)
        found += await _problems(steps, play)
        if steps.victim is None:
            assert number > 3, "The scenario has no steps."
            return found
    raise AssertionError


async def problems_in_every_coroutine(fault: Fault, play: Play) -> list[str]:
    """Play a scenario once for each of its coroutine functions, with a fault at the first step in it, as above."""
    found, known = list[str](), set[str]()
    while True:
        steps = Steps(fault, lambda _, place: not known.issuperset(place.split(WITHIN)))
        found += await _problems(steps, play)
        if steps.victim is None:
            assert len(known) > 3, "The scenario has no steps."
            return found
        known.update(steps.place.split(WITHIN))


async def _problems(steps: Steps, play: Play) -> list[str]:
    problems = await play(steps)
    fault = "no fault" if steps.victim is None else f"{steps.fault} at {steps.place}"
    return [f"{fault}, {name}: {problem}" for name, problem in problems.items()]
