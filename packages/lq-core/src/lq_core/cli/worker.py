"""``lq worker``: runs a worker in this process until a signal stops it."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final, TypeAlias

import click

from lq_core.attempts.metrics import Metrics
from lq_core.attempts.thread import abandoned
from lq_core.cli.configuration import split_names
from lq_core.cli.display import print_facts
from lq_core.cli.event_loop import run_in_loop
from lq_core.cli.options import Command, modules_option
from lq_core.cli.output import Failure, echo
from lq_core.cli.session import read_config_of_stores, short_errors
from lq_core.cli.status import StatusOption
from lq_core.cli.stop_signals import StopSignals
from lq_core.cli.supervisor import CANNOT_START, stop_with, supervise, supervisor
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError, StorageError
from lq_core.foundation.event_log import show_events
from lq_core.foundation.process_end import PARTING, end_with, leave_threads
from lq_core.presence.presence import SETTLE_GRACE
from lq_core.queue import QueueState
from lq_core.records.outcome import Outcome
from lq_core.schedules.schedule import known_schedules
from lq_core.service import QueueService, RoutedQueueService, service_of
from lq_core.service.task_modules import import_tasks
from lq_core.tasks.known_tasks import known_tasks
from lq_core.tasks.provider import Provider
from lq_core.worker import Worker, worker_of

LEVELS = ("debug", "info", "warning", "error")

Around: TypeAlias = Callable[[], AbstractAsyncContextManager[Sequence[Provider[Any]] | None]]
"""Opens what the tasks of an application need, and yields more providers."""

AROUND: Final = "lq.around"
"""The key in click's ``meta`` under which another program keeps an :data:`Around` for ``worker``."""

CLOSING: Final = 3.0
"""Seconds to close the backends and the injected values, before the process ends by force."""

NAMED = 8
"""The most tasks that are listed by name."""

NO_TASK = (
    "No task is known here, so this worker could not run any record. Give the configuration of the application, or "
    "the modules that define tasks: lq worker module:config, lq worker -m MODULE, QueueConfig(task_modules=...)."
)


@click.command(
    "worker", cls=Command, examples=("", "--queues mail,reports --concurrency 50", "--processes 4", "--reload")
)
@click.option("--queues", multiple=True, metavar="QUEUE", help="Serve only these queues; separate several with commas.")
@click.option("--concurrency", type=click.IntRange(1), help="How many records to run at once.")
@modules_option
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
@click.option("--processes", type=click.IntRange(1), help="Run this many processes, and restart those that die.")
@click.option(
    "--http", metavar="HOST:PORT", help="Serve /healthz, /readyz and /metrics at this address, for monitoring."
)
@click.option("--reload", is_flag=True, help="Restart when a Python file in this folder changes; for development.")
def worker(
    *,
    queues: Sequence[str],
    concurrency: int | None,
    log_level: str,
    processes: int | None,
    http: str | None,
    reload: bool,
) -> None:
    """
    Run records until Ctrl-C, SIGTERM or SIGHUP.

    After the first signal the worker starts nothing new, and running tasks may finish within the grace period.
    After the second signal it interrupts running tasks at once. Their records spend no retry.
    After the third signal, or if it cannot stop in time, the process ends by force. Exit codes: 0 if everything has
    stopped, 130 after Ctrl-C or 143 after SIGTERM if something was still running.

    With --processes, each process is a worker of its own. The command passes signals on, and ends when all processes
    have ended, with the largest of their exit codes.
    """
    if http is not None and processes is not None and processes > 1:
        raise click.UsageError("--http serves one process. Start several workers instead, each with its own address.")
    parent = supervisor()
    if parent is None and (processes is not None or reload):
        if not hasattr(signal, "SIGHUP"):
            raise Failure("--processes and --reload need the signals of POSIX. Start several workers instead.")
        raise click.exceptions.Exit(supervise(processes or 1, reload=reload))
    try:
        _work(queues, concurrency, log_level, http=http, parent=parent)
    except Failure as error:
        if parent is None:
            raise
        error.show()
        raise click.exceptions.Exit(CANNOT_START) from error


def _work(
    queues: Sequence[str], concurrency: int | None, log_level: str, *, http: str | None, parent: int | None
) -> None:
    metrics = Metrics()
    config = read_config_of_stores()
    status = StatusOption(http)
    config = replace(config, middleware=(metrics, *status.middleware, *config.middleware))
    around: Around = click.get_current_context().meta.get(AROUND, nullcontext)
    with short_errors():
        if queues:
            config = replace(config, queues=split_names(queues))
        if concurrency is not None:
            config = replace(config, concurrency=concurrency)
        show_events(log_level)
        limits = config.shutdown_grace + SETTLE_GRACE + CLOSING, SETTLE_GRACE + CLOSING
        run_in_loop(_serve(config, metrics, StopSignals(*limits), status, around, parent=parent))
        end_with(0)


async def _serve(
    config: QueueConfig,
    metrics: Metrics,
    signals: StopSignals,
    status: StatusOption,
    around: Around,
    *,
    parent: int | None,
) -> None:
    leave_threads()
    async with around() as providers:
        config = replace(config, providers=(*config.providers, *(providers or ())))
        service = service_of(config)
        worker = worker_of(service)
        await _serve_here(service, worker, signals, status, parent=parent)
    left = sorted({*service.running(), *abandoned()})
    stuck = await _cancelled_but_running()
    echo(f"Stopped. {_summary(metrics, worker.dispatched)}" + (f" Still running: {', '.join(left)}." if left else ""))
    if left or stuck:
        # They ignore their cancellation. The event loop would wait for them for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(signals.code)


async def _serve_here(
    service: QueueService, worker: Worker, signals: StopSignals, status: StatusOption, *, parent: int | None
) -> None:
    config, queue = service.config, service.queue_backend
    service.check_backends()
    import_tasks(config.task_modules)
    typed = [one for one in (config.execution_backend, *config.execution_backends) if not isinstance(one, str)]
    if not known_tasks() and not typed and queue.missing_file:
        raise ConfigurationError(NO_TASK)  # Before a new file is made in a wrong folder.
    async with service:
        if parent is not None:
            stop_with(parent, worker.stop)
        async with status.serving(service, worker):
            await _run(worker, service, signals)


async def _cancelled_but_running() -> bool:
    """Cancel what tasks have left in the event loop, and say whether some of it runs on."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for one in others:
        one.cancel()
    return bool(others) and bool((await asyncio.wait(others, timeout=PARTING))[1])


async def _run(worker: Worker, service: QueueService, signals: StopSignals) -> None:

    def ask(count: int) -> None:
        if count == 1:
            worker.stop()
            echo(f"Stopping: {_still(service)}.")
        else:
            worker.end_now()
            echo("Interrupting the running tasks.")

    signals.call(ask)
    await _introduce(service)
    await worker.run()


async def _introduce(service: QueueService) -> None:
    config, tasks = service.config, list(known_tasks())
    backends = await service.execution_backends()
    if not tasks and not all(backend.external for backend in backends.values()):
        raise ConfigurationError(NO_TASK)
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    paused = sorted(name for name, state in (await _states(service)).items() if state.paused)
    print_facts(
        {
            "records": _places(service),
            "queues": ("all" if config.queues is None else ", ".join(config.queues))
            + (f" (paused: {', '.join(paused)})" if paused else ""),
            "runs on": f"{', '.join(sorted(backends))}; {config.concurrency} at once"
            + (" in each store" if config.has_several_stores else ""),
            "tasks": f"{len(tasks)}: {', '.join(tasks[:NAMED])}{more}",
            "schedules": ", ".join(known_schedules()),
            "stop with": f"Ctrl-C; running tasks get {config.shutdown_grace:g} s, a second Ctrl-C interrupts them, "
            "a third one ends the process",
        }
    )
    if not service.queue_backend.shared:
        echo("Warning: the records are in the memory of this process. No other process can add records.", err=True)
    sys.stdout.flush()


def _places(service: QueueService) -> str:
    if isinstance(service, RoutedQueueService):
        return ", ".join(f"{name}: {each.queue_backend.address}" for name, each in service.stores.items())
    return service.queue_backend.address


async def _states(service: QueueService) -> Mapping[str, QueueState]:
    try:
        return await service.queues()
    except StorageError:
        return {}  # Workers of other stores start while one store cannot be used.


def _summary(metrics: Metrics, dispatched: int) -> str:
    measures = metrics.snapshot()
    counts = Counter[Outcome]()
    for (_, outcome), measure in measures.items():
        counts[outcome] += measure.count
    more = f" Dispatched {dispatched}." if dispatched else ""
    if not counts:
        return more.strip() or "Ran nothing."
    ended = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if outcome in counts)
    mean = sum(measure.seconds for measure in measures.values()) / counts.total()
    longest = max(measure.longest for measure in measures.values())
    return f"Ran {counts.total()}: {ended}; {mean:.3g} s on average, {longest:.3g} s at most.{more}"


def _still(service: QueueService) -> str:
    running = len(service.running())
    if not running:
        return "nothing runs"
    return f"{running} still {'runs' if running == 1 else 'run'}; repeat the signal to interrupt at once"
