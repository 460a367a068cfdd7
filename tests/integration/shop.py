"""The tasks of the tests: each does one thing that a task may do."""

import asyncio
import threading
from datetime import datetime
from uuid import UUID

from lq_core import Backoff, NonRetryable, QueueService, RetryLater, TaskContext, current_context, task

SOON = Backoff(base=0.01, factor=1)


class Gate:
    """Lets a test see that a task has begun, and decide when it may end."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.opened = threading.Event()
        self.ended: list[str] = []

    async def through_middleware(self) -> None:
        self.begun.set()
        while not self.opened.is_set():  # noqa: ASYNC110 -- the gate may be opened from another thread
            await asyncio.sleep(0.005)  # The task is made to take its time; nobody waits by this clock.

    async def wait_begun(self) -> None:
        await asyncio.to_thread(self.begun.wait, 10)


gate = Gate()


def new_gate() -> Gate:
    """Close the gate again, for the next test."""
    globals()["gate"] = made = Gate()
    return made


@task(name="shop.add")
async def add(first: int, second: int) -> int:
    return first + second


@task(name="shop.multiply")
def multiply(first: int, second: int) -> int:
    return first * second


@task(name="shop.describe")
async def describe(when: datetime, who: UUID) -> list[str]:
    return [type(when).__name__, type(who).__name__]


@task(name="shop.stumble", retries=3, backoff=SOON)
async def stumble(context: TaskContext, failures: int) -> int:
    if context.record.retry_count < failures:
        raise ValueError(f"stumbled {context.attempt}")
    return context.attempt


@task(name="shop.refuse", retries=3)
async def refuse() -> None:
    raise NonRetryable("never")


@task(name="shop.come_back")
async def come_back(times: int) -> int:
    attempt = current_context().attempt
    if attempt <= times:
        raise RetryLater(0.01)
    return attempt


@task(name="shop.wait_at_gate", timeout=30)
async def wait_at_gate() -> str:
    try:
        await gate.through_middleware()
    except asyncio.CancelledError:
        gate.ended.append("cancelled")
        raise
    gate.ended.append("passed")
    return "passed"


@task(name="shop.linger", timeout=0.05)
async def linger() -> None:
    await asyncio.Event().wait()


@task(name="shop.linger_in_thread", timeout=0.05)
def linger_in_thread(context: TaskContext) -> None:
    while not context.cancelled:
        pass


@task(name="shop.leave")
async def leave() -> None:
    raise SystemExit(3)


class PanicError(BaseException):
    """What extensions in Rust raise: no Exception."""


@task(name="shop.panic")
async def panic() -> None:
    raise PanicError("the extension broke")


@task(name="shop.interrupt_in_thread")
def interrupt_in_thread() -> None:
    raise KeyboardInterrupt


@task(name="shop.complain_of_file")
async def complain_of_file() -> None:
    raise ValueError("there is no caf\udce9.txt")


@task(name="shop.give_up_itself")
async def give_up_itself() -> None:
    raise asyncio.CancelledError


@task(name="shop.cancel_itself", backoff=SOON)
async def cancel_itself() -> None:
    me = asyncio.current_task()
    assert me is not None
    me.cancel()
    await asyncio.sleep(0)


@task(name="shop.cancel_itself_later")
async def cancel_itself_later() -> None:
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().call_later(0.01, me.cancel)
    await asyncio.Event().wait()


@task(name="shop.refuse_to_stop")
async def refuse_to_stop() -> None:
    while True:
        try:
            await gate.through_middleware()
        except asyncio.CancelledError:
            gate.ended.append("cancelled")
        else:
            return


@task(name="shop.return_nan")
async def return_nan() -> list[float]:
    return [1.0, float("nan")]


@task(name="shop.return_text_for_number")
async def return_text_for_number() -> int:
    return "seven"  # pyright: ignore[reportReturnType] -- the mistake is the example


@task(name="shop.return_nonsense")
async def return_nonsense() -> object:
    return object()


@task(name="shop.return_much")
async def return_much(size: int) -> str:
    return "x" * size


@task(name="shop.count", timeout=30)
async def count(context: TaskContext, total: int) -> int:
    for done in range(total):
        await context.progress(done + 1, total, f"step {done + 1}")
    await gate.through_middleware()
    return total


@task(name="shop.count_in_thread")
def count_in_thread(context: TaskContext) -> str:
    context.progress_from_thread(1, 1)
    return threading.current_thread().name


@task(name="shop.report_as_if_in_a_thread")
async def report_as_if_in_a_thread(context: TaskContext, what: str) -> None:
    """Report as a plain function does, from the event loop."""
    if what == "log":
        context.log_from_thread("hello")
    else:
        context.progress_from_thread(1, 2)


@task(name="shop.measure")
async def measure(text: str) -> int:
    return len(text)


@task(name="shop.break_when_stopped")
async def break_when_stopped() -> None:
    try:
        await gate.through_middleware()
    except asyncio.CancelledError:
        raise ConnectionError("the driver was interrupted") from None


@task(name="shop.end_when_stopped")
async def end_when_stopped() -> str:
    try:
        await gate.through_middleware()
    except asyncio.CancelledError:
        return "half of it"
    return "all of it"


@task(name="shop.come_back_never")
async def come_back_never() -> None:
    raise RetryLater(1e300)


@task(name="shop.count_nonsense")
async def count_nonsense(context: TaskContext) -> None:
    await context.progress(float("nan"))


_services: dict[int, QueueService] = {}


def offer(service: QueueService) -> int:
    """Let a task enqueue with a service of the test's; it is found again by the number."""
    _services[id(service)] = service
    return id(service)


def found(number: int) -> QueueService:
    """Find an offered service again."""
    return _services[number]


@task(name="shop.wait_inside")
async def wait_inside(service: int) -> str:
    inner = await found(service).enqueue(wait_at_gate.using(execution_backend="immediate"))
    return await inner.wait()


@task(name="shop.report_for_ever")
async def report_for_ever(context: TaskContext) -> None:
    gate.begun.set()
    try:
        while True:
            await context.progress(1)
            await asyncio.sleep(0.01)  # The task is made to take its time; nobody waits by this clock.
    except asyncio.CancelledError:
        gate.ended.append("cancelled")
        raise
