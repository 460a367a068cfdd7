"""One trace leads from the enqueue to every attempt."""

from collections.abc import AsyncGenerator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from lq_core import NonRetryable, QueueConfig, TaskContext, task
from lq_core.observability.opentelemetry import OpenTelemetryMiddleware
from lq_core.testing import QueueTestbed


@task(name="traced.greet", queue="mail")
async def greet(name: str) -> str:
    return f"Hello, {name}."


@task(name="traced.twice", queue="mail", retries=1, backoff=1)
async def twice(context: TaskContext) -> None:
    if context.attempt == 1:
        raise ConnectionError("no line")


@task(name="traced.break", queue="mail")
async def break_down() -> None:
    raise NonRetryable("no paper")


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


@pytest.fixture
async def bed(provider: TracerProvider) -> AsyncGenerator[QueueTestbed]:
    async with QueueTestbed(QueueConfig(middleware=(OpenTelemetryMiddleware(provider),))) as bed:
        yield bed


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def context_of(span: ReadableSpan) -> SpanContext:
    context = span.get_span_context()
    assert context is not None
    return context


async def test_an_attempt_belongs_to_the_trace_of_its_request(
    bed: QueueTestbed, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    with provider.get_tracer("web").start_as_current_span("POST /greet"):
        sent = await bed.service.enqueue(greet.using(metadata={"tenant": "acme"}), "Ada")
    await bed.drain()

    [request], [send], [process] = (named(spans, name) for name in ("POST /greet", "send mail", "process mail"))
    assert send.parent is not None
    assert process.parent is not None
    assert send.parent.span_id == context_of(request).span_id
    assert process.parent.span_id == context_of(send).span_id
    assert context_of(process).trace_id == context_of(request).trace_id
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert process.attributes is not None
    assert process.attributes["messaging.message.id"] == str(sent.id)
    assert sent.record.metadata["tenant"] == "acme"


async def test_a_retry_is_a_trace_of_its_own_with_a_link(bed: QueueTestbed, spans: InMemorySpanExporter) -> None:
    await bed.service.enqueue(twice)
    await bed.drain(within=60)

    [send], [first, second] = named(spans, "send mail"), named(spans, "process mail")
    assert context_of(first).trace_id == context_of(send).trace_id
    assert context_of(second).trace_id != context_of(send).trace_id
    assert [link.context.span_id for link in second.links] == [context_of(send).span_id]
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET


async def test_a_failure_is_told_with_its_exception(bed: QueueTestbed, spans: InMemorySpanExporter) -> None:
    await bed.service.enqueue(break_down)
    await bed.drain()

    [process] = named(spans, "process mail")
    assert process.attributes is not None
    assert (process.attributes["error.type"], process.attributes["lq.outcome"]) == ("NonRetryable", "failed")
    assert [event.name for event in process.events] == ["exception"]


async def test_a_check_makes_no_span(bed: QueueTestbed, spans: InMemorySpanExporter) -> None:
    bed.service.check([greet.call("Ada")])

    assert spans.get_finished_spans() == ()
