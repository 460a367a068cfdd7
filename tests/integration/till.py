"""Tasks that ask for what they need by annotation, and the store that provides it."""

import asyncio
from collections.abc import AsyncIterator

import shop
from lq_core import (
    INJECTED,
    Backoff,
    Provider,
    QueueConfig,
    QueueService,
    RetryLater,
    TaskContext,
    current_context,
    per_attempt,
    per_worker,
    task,
)

SOON = Backoff(base=0.01, factor=1)


class Pool:
    """Kept by the worker."""

    def __init__(self) -> None:
        self.diary: list[str] = []


class Session:
    """Opened for an attempt, on the pool."""

    def __init__(self, pool: Pool, attempt: int) -> None:
        self.pool = pool
        self.attempt = attempt


class Cart:
    """Needs the session too."""

    def __init__(self, session: Session) -> None:
        self.session = session


class Nowhere:
    """Provided by nobody."""


@task(name="injection.sell", backoff=SOON)
async def sell(thing: str, session: Session = INJECTED) -> int:
    session.pool.diary.append(f"sold {thing}")
    return session.attempt


@task(name="injection.sell_in_thread")
def sell_in_thread(thing: str, *, session: Session = INJECTED) -> int:
    session.pool.diary.append(f"sold {thing}")
    return session.attempt


@task(name="injection.compare")
async def compare(session: Session = INJECTED, cart: Cart = INJECTED, pool: Pool = INJECTED) -> bool:
    return session is cart.session and session.pool is pool


@task(name="injection.fail", backoff=SOON)
async def fail(session: Session = INJECTED) -> None:
    raise ValueError("sold out")


@task(name="injection.come_back")
async def come_back(session: Session = INJECTED) -> None:
    raise RetryLater(60)


@task(name="injection.linger", timeout=0.05)
async def linger(session: Session = INJECTED) -> None:
    await asyncio.Event().wait()


@task(name="injection.return_nonsense")
async def return_nonsense(session: Session = INJECTED) -> object:
    return object()


@task(name="injection.wait")
async def wait(session: Session = INJECTED) -> None:
    await shop.gate.through_middleware()


@task(name="injection.add_twice")
async def add_twice(number: int, queue: QueueService = INJECTED, context: TaskContext = INJECTED) -> str:
    added = await queue.enqueue(shop.add, number, number)
    return f"{context.record.task_name}: {await added.wait(timeout=10)}"


@task(name="injection.cancel_itself")
async def cancel_itself(session: Session = INJECTED, queue: QueueService = INJECTED) -> bool:
    return await queue.cancel(current_context().record.id)


@task(name="injection.search")
async def search(where: Nowhere = INJECTED) -> None:
    raise NotImplementedError


class Store:
    """A pool and a session that write down what happens to them."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    def providers(self) -> tuple[Provider[Pool], Provider[Session]]:
        @per_worker
        async def pool() -> AsyncIterator[Pool]:
            made = Pool()
            made.diary = self.diary
            self.diary.append("pool opened")
            yield made
            self.diary.append("pool closed")

        @per_attempt
        async def session(pool: Pool, context: TaskContext) -> AsyncIterator[Session]:
            self.diary.append("session opened")
            try:
                yield Session(pool, context.attempt)
            except BaseException as error:
                self.diary.append(f"session saw {type(error).__name__}")
                raise
            finally:
                self.diary.append("session closed")

        return pool, session


def inline_config(store: Store) -> QueueConfig:
    """Everything happens in the enqueue."""
    return QueueConfig(queue_backend="memory", execution_backend="immediate", providers=store.providers())
