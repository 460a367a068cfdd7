"""``lq stats``, ``lq tasks`` and ``lq workers``: what there is, in numbers and names."""

import inspect

import click

from lq_core.cli.display import print_json, print_table, to_duration
from lq_core.cli.examples import ExampleCommand
from lq_core.cli.session import Session
from lq_core.queue import Statistics
from lq_core.record import TaskStatus
from lq_core.service import QueueService
from lq_core.task import known_tasks


def stats_command(session: Session) -> click.Command:
    """Make the command ``stats``."""

    @click.command("stats", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
    @session.looks
    async def command(service: QueueService, *, as_json: bool) -> None:
        """Count the records, by queue and status."""
        statistics = await service.statistics()
        if as_json:
            print_json(statistics)
            return
        _print_counts(statistics, address=service.queue_backend.address)
        if statistics.oldest_due is not None:
            waited = (service.queue_backend.now() - statistics.oldest_due).total_seconds()
            click.echo(f"The oldest record that could run has waited {max(0.0, waited):.1f} s.")

    return command


def workers_command(session: Session) -> click.Command:
    """Make the command ``workers``."""

    @click.command("workers", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
    @session.looks
    async def command(service: QueueService, *, as_json: bool) -> None:
        """List the workers that are registered, and when each was last heard of."""
        workers = await service.workers()
        if as_json:
            print_json(workers)
            return
        now = service.queue_backend.now()
        print_table(
            ("worker", "queues", "runs on", "at once", "started (UTC)", "heard of"),
            [
                (
                    worker.id,
                    "all" if worker.queues is None else worker.queues,
                    worker.execution_backends,
                    worker.concurrency,
                    worker.started_at,
                    f"{to_duration((now - worker.seen_at).total_seconds())} ago",
                )
                for worker in workers
            ],
            empty="No worker is registered. Start one with the command worker.",
        )

    return command


def tasks_command(session: Session) -> click.Command:
    """Make the command ``tasks``."""

    @click.command("tasks", cls=ExampleCommand, examples=("", "--json"))
    @click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
    def command(*, as_json: bool) -> None:
        """List the tasks that a worker with this configuration would know."""
        session.import_tasks()
        rows = [
            {
                "name": name,
                "signature": str(inspect.signature(task.function)),
                "queue": task.options.queue,
                "retries": task.options.retries,
                "timeout": task.options.timeout,
                "execution_backend": task.options.execution_backend,
            }
            for name, task in known_tasks().items()
        ]
        if as_json:
            print_json(rows)
            return
        print_table(
            ("task", "signature", "queue", "retries", "timeout", "runs on"),
            [tuple(row.values()) for row in rows],
            empty="No task is known. Name the modules that define them: QueueConfig(task_modules=...).",
        )

    return command


def _print_counts(statistics: Statistics, *, address: str) -> None:
    shown = [status for status in TaskStatus if statistics.total(status)]
    print_table(
        ("queue", *shown, "all"),
        [
            (queue, *(counts.get(status, 0) for status in shown), sum(counts.values()))
            for queue, counts in sorted(statistics.counts.items())
        ],
        empty=f"There are no records in {address}.",
    )
