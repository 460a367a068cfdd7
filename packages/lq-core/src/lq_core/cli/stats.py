"""``lq stats``, ``lq tasks`` and ``lq workers``: counts records, lists tasks and workers."""

import inspect

import click
from msgspec.structs import asdict

from lq_core.cli.display import print_json, print_table, to_duration
from lq_core.cli.options import Command, json_option, modules_option
from lq_core.cli.output import echo
from lq_core.cli.session import read_config, short_errors, with_service
from lq_core.records.record import TaskStatus
from lq_core.service import QueueService
from lq_core.service.demand import TARGET_WAIT
from lq_core.service.task_modules import import_tasks
from lq_core.tasks.known_tasks import known_tasks


@click.command("stats", cls=Command, examples=("", "--json"))
@click.option(
    "--target-wait",
    type=click.FloatRange(0, min_open=True),
    default=TARGET_WAIT,
    show_default=True,
    help="The seconds that a ready record may wait, for the number of workers wanted.",
)
@json_option("a JSON object")
@with_service
async def stats(service: QueueService, *, target_wait: float, as_json: bool) -> None:
    """
    Count records by queue and status.

    It also says how many workers the queues need, from the rate of new records, their running time and their wait.
    """
    statistics = await service.statistics()
    demand = await service.demand(target_wait=target_wait, statistics=statistics)
    if as_json:
        facts = {"oldest_due": statistics.oldest_due, "workers_wanted": demand.workers_wanted, "demand": demand}
        print_json({**asdict(statistics), **facts})
        return
    shown = [status for status in TaskStatus if statistics.total(status)]
    print_table(
        ("queue", *shown, "all"),
        [
            (queue, *(counts.get(status, 0) for status in shown), sum(counts.values()))
            for queue, counts in sorted(statistics.counts.items())
        ],
        empty=f"There are no records in {service.queue_backend.address}.",
    )
    if statistics.oldest_due is not None:
        waited = (service.queue_backend.now() - statistics.oldest_due).total_seconds()
        echo(f"The oldest ready record has waited {max(0.0, waited):.1f} s.")
    if statistics.counts:
        each = f"{target_wait:g} s, with {demand.slots_per_worker} slots each"
        echo(f"Workers wanted to start ready records within {each}: {demand.workers_wanted}.")


@click.command("workers", cls=Command, examples=("", "--json"))
@json_option("a JSON list")
@with_service
async def workers(service: QueueService, *, as_json: bool) -> None:
    """List the registered workers with their last heartbeat."""
    registered = await service.workers()
    if as_json:
        print_json(registered)
        return
    now = service.queue_backend.now()
    print_table(
        ("worker", "queues", "runs on", "at once", "started (UTC)", "heartbeat"),
        [
            (
                worker.id,
                "all" if worker.queues is None else worker.queues,
                worker.execution_backends,
                "0 (its claims fail)" if worker.has_given_up else worker.concurrency,
                worker.started_at,
                f"{to_duration((now - worker.seen_at).total_seconds())} ago",
            )
            for worker in registered
        ],
        empty="No worker is registered. Start one: lq worker module:config",
    )


@click.command("tasks", cls=Command, examples=("", "--json"))
@modules_option
@json_option("a JSON list")
def tasks(*, as_json: bool) -> None:
    """List the tasks that a worker would know."""
    config = read_config()
    with short_errors():
        import_tasks(config.task_modules)
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
        empty="No task is known. Add the modules that define tasks: QueueConfig(task_modules=...).",
    )
