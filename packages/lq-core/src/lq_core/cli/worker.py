"""``lq worker``: says what it runs, runs it, and stops when it is asked to."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import click

from lq_core.cli.display import print_facts
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.log_lines import LEVELS, show_events
from lq_core.cli.names import split_names
from lq_core.cli.session import Session, told
from lq_core.config import QueueConfig
from lq_core.errors import ConfigurationError
from lq_core.metrics import Metrics
from lq_core.outcome import Outcome
from lq_core.queue.memory import InMemoryQueueBackend
from lq_core.queue.sqlite import SQLiteQueueBackend
from lq_core.schedule import known_schedules
from lq_core.service import QueueService
from lq_core.service.task_modules import import_tasks
from lq_core.task import known_tasks
from lq_core.worker import Worker

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # A terminal that is closed sends SIGHUP; Windows has none.
NAMED = 8
"""How many tasks are named; of more, the rest is counted."""

NO_TASK = (
    "No task is known here, and every record would fail. Name the configuration of the application, or the modules "
    "that define tasks: lq worker module:config, lq worker -m MODULE, QueueConfig(task_modules=...)."
)


def worker_command(session: Session) -> click.Command:
    """Make the command ``worker``."""

    @click.command("worker", cls=ExampleCommand, examples=("", "--queues mail,reports --concurrency 50"))
    @click.option("--queues", multiple=True, metavar="QUEUE", help="Serve only these; several with commas.")
    @click.option("--concurrency", type=click.IntRange(1), help="How many records to run here at once.")
    @click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
    def command(*, queues: Sequence[str], concurrency: int | None, log_level: str) -> None:
        """
        Run the records of a queue until Ctrl-C, SIGTERM or SIGHUP.

        The first signal drains: nothing new is started, and what runs may finish within the time of grace.
        The second gives back at once what still runs; no retry is spent on it.
        """
        config = session.config()
        if queues:
            with told():
                config = replace(config, queues=split_names(queues))
        if concurrency is not None:
            config = replace(config, concurrency=concurrency)
        metrics = Metrics()
        config = replace(config, middleware=(metrics, *config.middleware))
        show_events(log_level)
        with told():
            asyncio.run(_serve(config, metrics))

    return command


async def _serve(config: QueueConfig, metrics: Metrics) -> None:
    service = QueueService(config)
    service.executions.check()
    import_tasks(config.task_modules)
    queue = service.queue_backend
    typed = [one for one in (config.execution_backend, *config.execution_backends) if not isinstance(one, str)]
    if not known_tasks() and not typed and isinstance(queue, SQLiteQueueBackend) and not queue.path.exists():
        raise ConfigurationError(NO_TASK)  # And no new file in a folder that is not the application's.
    async with service:
        attempts = service.runner.attempts
        await _run(service)
    left = sorted({attempt.record.task_name for attempt in attempts.values()})
    click.echo(f"Stopped. {_summary(metrics)}" + (f" Left behind: {', '.join(left)}." if left else ""))
    if left:
        # They do not let themselves be cancelled, and the event loop would wait for them for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


async def _run(service: QueueService) -> None:
    worker = Worker(service)
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        if len(asked) == 1:
            worker.stop()
            click.echo(f"Stopping: {_still(service)}.")
        else:
            worker.give_back()
            click.echo("Giving back what still runs.")

    with _signals(ask):
        await _introduce(service)
        await worker.run()


async def _introduce(service: QueueService) -> None:
    config, tasks = service.config, list(known_tasks())
    backends = await service.executions.usable(service)
    if not tasks and not all(backend.external for backend in backends.values()):
        raise ConfigurationError(NO_TASK)
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    paused = sorted(name for name, state in (await service.queues()).items() if state.paused)
    print_facts(
        {
            "records": service.queue_backend.address,
            "queues": ("all" if config.queues is None else ", ".join(config.queues))
            + (f" (paused: {', '.join(paused)})" if paused else ""),
            "runs on": f"{', '.join(sorted(backends))}; {config.concurrency} at once",
            "tasks": f"{len(tasks)}: {', '.join(tasks[:NAMED])}{more}",
            "schedules": ", ".join(known_schedules()),
            "stop with": f"Ctrl-C; running tasks get {config.shutdown_grace:g} s, a second Ctrl-C gives them back",
        }
    )
    if isinstance(service.queue_backend, InMemoryQueueBackend):
        click.echo("Warning: the records are in the memory of this process; no other can add to them.", err=True)
    sys.stdout.flush()


def _summary(metrics: Metrics) -> str:
    measures = metrics.snapshot()
    counts = Counter[Outcome]()
    for (_, outcome), measure in measures.items():
        counts[outcome] += measure.count
    if not counts:
        return "Ran nothing."
    ended = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if outcome in counts)
    mean = sum(measure.seconds for measure in measures.values()) / counts.total()
    longest = max(measure.longest for measure in measures.values())
    return f"Ran {counts.total()}: {ended}; {mean:.3g} s on average, {longest:.3g} s at most."


def _still(service: QueueService) -> str:
    running = len(service.runner.attempts)
    if not running:
        return "nothing runs"
    return f"{running} still {'runs' if running == 1 else 'run'}; again to give back at once"


@contextmanager
def _signals(ask: Callable[[int], None]) -> Generator[None, None, None]:
    """Hand the signals to stop to *ask*, in the event loop; as it was before when this is left."""
    loop = asyncio.get_running_loop()

    def handle(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(ask, number)

    # `nohup` has SIGHUP ignored, and means it; what a shell starts with `&` has SIGINT ignored, and is to heed it.
    asked_for = (signal.SIGINT, signal.SIGTERM)
    heeded = [one for one in SIGNALS if one in asked_for or signal.getsignal(one) is not signal.SIG_IGN]
    before: Mapping[signal.Signals, object] = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
