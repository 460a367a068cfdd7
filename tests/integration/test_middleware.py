"""What an application puts around its attempts, and what it measures of them."""

from contextvars import ContextVar
from dataclasses import replace

import pytest

import shop
from lq_core import (
    ConfigurationError,
    Metrics,
    Middleware,
    NonRetryable,
    Outcome,
    Proceed,
    QueueConfig,
    QueuedTaskRecord,
    QueueService,
    RetryLater,
    TaskContext,
    TaskFailedError,
    TaskFailure,
    Worker,
    current_context,
    task,
)
from lq_core.records import lifecycle

TENANT: ContextVar[str] = ContextVar("tenant")


@task(name="middleware.tenant")
async def tenant() -> str:
    return TENANT.get()


@task(name="middleware.tenant_in_thread")
def tenant_in_thread() -> str:
    return TENANT.get()


@task(name="middleware.enqueue")
async def enqueue(service: int) -> str:
    await shop.found(service).enqueue(shop.add, 1, 1)
    return current_context().record.task_name


class Diary:
    """Writes down what passes."""

    def __init__(self, name: str = "diary", entries: list[str] | None = None) -> None:
        self.name = name
        self.entries: list[str] = [] if entries is None else entries

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        self.entries.append(f"{self.name} before {context.record.task_name}")
        record = await proceed()
        self.entries.append(f"{self.name} after {record.status} {context.error!r}")
        return record


class Fault:
    """Raises before or after the attempt."""

    def __init__(self, *, before: BaseException | None = None, after: BaseException | None = None) -> None:
        self._before = before
        self._after = after

    async def __call__(self, context: TaskContext, proceed: Proceed, /) -> QueuedTaskRecord:
        if self._before is not None:
            raise self._before
        record = await proceed()
        if self._after is not None:
            raise self._after
        return record


async def as_tenant(context: TaskContext, proceed: Proceed) -> QueuedTaskRecord:
    TENANT.set("ada")
    return await proceed()


async def forget_to_proceed(context: TaskContext, proceed: Proceed) -> QueuedTaskRecord:
    return context.record


async def proceed_twice(context: TaskContext, proceed: Proceed) -> QueuedTaskRecord:
    await proceed()
    return await proceed()


def inline(*middleware: Middleware) -> QueueService:
    """Everything happens in the enqueue, with something around it."""
    return QueueService(QueueConfig(queue_backend="memory", execution_backend="immediate", middleware=middleware))


async def test_middleware_stands_around_an_attempt_outermost_first() -> None:
    entries: list[str] = []
    async with inline(Diary("outer", entries), Diary("inner", entries)) as service:
        await service.enqueue(shop.add, 1, 1)

    assert entries == [
        "outer before shop.add",
        "inner before shop.add",
        "inner after completed None",
        "outer after completed None",
    ]


async def test_after_the_attempt_middleware_sees_the_record_and_the_live_exception() -> None:
    diary = Diary()
    async with inline(diary) as service:
        await service.enqueue(shop.stumble, 1)
        await service.enqueue(shop.refuse)
        await service.enqueue(shop.leave)

    assert diary.entries[1::2] == [
        "diary after pending ValueError('stumbled 1')",
        "diary after failed NonRetryable('never')",
        "diary after failed SystemExit(3)",
    ]


@pytest.mark.parametrize("name", ["middleware.tenant", "middleware.tenant_in_thread"])
async def test_a_context_variable_that_middleware_sets_is_seen_by_the_task(name: str) -> None:
    async with inline(as_tenant) as service:
        assert await (await service.enqueue_by_name(name)).wait(timeout=10) == "ada"


async def test_what_middleware_raises_before_the_attempt_spends_a_retry() -> None:
    async with inline(Fault(before=ConnectionError("no tracing"))) as service:
        retried = (await service.enqueue(shop.add.using(retries=1), 1, 1)).record
        failed = (await service.enqueue(shop.add, 1, 1)).record

    assert (retried.status, retried.retry_count) == ("pending", 1)
    assert failed.status == "failed"
    assert failed.error is not None
    assert (failed.error.type, failed.error.message) == ("ConnectionError", "no tracing")


@pytest.mark.parametrize(
    "order, status, event",
    [(RetryLater(60), "pending", "snoozed"), (NonRetryable("closed today"), "failed", "failed")],
)
async def test_middleware_may_say_later_and_never_as_a_task_does(order: Exception, status: str, event: str) -> None:
    async with inline(Fault(before=order)) as service:
        record = (await service.enqueue(shop.add.using(retries=1), 1, 1)).record

    assert (record.status, record.retry_count, record.history[-1].event) == (status, 0, event)


async def test_an_outer_layer_sees_the_outcome_of_an_inner_one_that_failed() -> None:
    diary, metrics = Diary(), Metrics()
    async with inline(metrics, diary, Fault(before=ValueError("no"))) as service:
        await service.enqueue(shop.add, 1, 1)

    assert diary.entries[-1] == "diary after failed ValueError('no')"
    assert metrics.snapshot()["shop.add", Outcome.FAILED].count == 1


@pytest.mark.parametrize("layer", [Fault(after=ValueError("the report is full")), proceed_twice])
async def test_what_middleware_raises_after_the_attempt_is_logged_and_the_outcome_stands(
    layer: Middleware, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary()
    async with inline(diary, layer) as service:
        sent = await service.enqueue(shop.add, 1, 1)

        assert await sent.wait(timeout=10) == 2
    assert diary.entries[-1] == "diary after completed None"
    assert "middleware.failed" in [vars(entry).get("event") for entry in caplog.records]


async def test_middleware_that_does_not_proceed_fails_the_attempt_and_is_named() -> None:
    async with inline(forget_to_proceed) as service:
        sent = await service.enqueue(shop.add, 1, 1)

        with pytest.raises(TaskFailedError, match=r"forget_to_proceed.*has not called proceed\(\)"):
            await sent.wait(timeout=10)


async def test_a_worker_goes_on_when_its_middleware_fails(config: QueueConfig) -> None:
    layers = (Fault(before=SystemExit(3)),)
    async with QueueService(replace(config, middleware=layers)) as service, Worker(service):
        await service.enqueue(shop.add, 1, 1)
        sent = await service.enqueue(shop.add, 2, 2)

        with pytest.raises(TaskFailedError, match="SystemExit: 3"):
            await sent.wait(timeout=10)


async def test_a_task_that_calls_another_is_itself_again_afterwards() -> None:
    async with inline() as service:
        sent = await service.enqueue(enqueue, shop.offer(service))

        assert await sent.wait(timeout=10) == "middleware.enqueue"
    with pytest.raises(LookupError, match="No task is running here"):
        current_context()


def counted(metrics: Metrics) -> dict[tuple[str, Outcome], int]:
    return {place: measure.count for place, measure in metrics.snapshot().items()}


async def test_metrics_count_attempts_by_task_and_outcome() -> None:
    metrics = Metrics()
    async with inline(metrics) as service:
        await service.enqueue(shop.add, 1, 1)
        await service.enqueue(shop.add, 2, 2)
        await service.enqueue(shop.stumble, 1)
        await service.enqueue(shop.come_back, 1)
        await service.enqueue(shop.refuse)

    assert counted(metrics) == {
        ("shop.add", Outcome.COMPLETED): 2,
        ("shop.stumble", Outcome.RETRIED): 1,
        ("shop.come_back", Outcome.SNOOZED): 1,
        ("shop.refuse", Outcome.FAILED): 1,
    }


async def test_metrics_tell_how_long_attempts_took() -> None:
    metrics = Metrics()
    async with inline(metrics) as service:
        await service.enqueue(shop.linger.using(timeout=0.06))
        await service.enqueue(shop.linger.using(timeout=0.02))

    measure = metrics.snapshot()["shop.linger", Outcome.FAILED]
    assert (measure.count, sum(measure.buckets)) == (2, 2)
    assert measure.seconds >= 0.08
    assert 0.06 <= measure.longest <= measure.seconds


async def test_metrics_tell_what_was_cancelled_interrupted_and_lost(config: QueueConfig) -> None:
    metrics = Metrics()
    async with QueueService(replace(config, middleware=(metrics,), shutdown_grace=0.0)) as service, Worker(service):
        shop.new_gate()
        unwanted = await service.enqueue(shop.wait_at_gate)
        await shop.gate.wait_begun()
        await service.cancel(unwanted.id)
        await service.wait(unwanted.id, timeout=10)

        shop.new_gate()
        taken = await service.enqueue(shop.end_when_stopped)
        await shop.gate.wait_begun()
        running = await taken.refresh()
        failure = TaskFailure(type="Taken", message="by the test")
        assert await service.swap(running, lifecycle.lose(running, failure=failure, at=running.created_at))
        shop.gate.opened.set()
        assert await taken.wait(timeout=10) == "all of it"

        shop.new_gate()
        await service.enqueue(shop.break_when_stopped)
        await shop.gate.wait_begun()

    assert counted(metrics) == {
        ("shop.wait_at_gate", Outcome.CANCELLED): 1,
        ("shop.end_when_stopped", Outcome.LOST): 1,
        ("shop.end_when_stopped", Outcome.COMPLETED): 1,
        ("shop.break_when_stopped", Outcome.INTERRUPTED): 1,
    }


@pytest.mark.parametrize("wrong", [Metrics, "metrics", (Metrics,), (None,)])
def test_what_is_no_middleware_is_refused_with_the_configuration(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"not classes: \(Metrics\(\),\)"):
        QueueConfig(middleware=wrong)  # pyright: ignore[reportArgumentType] -- the mistake is the example
