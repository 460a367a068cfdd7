"""The options that select records."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from typing import Final

import click
import msgspec

from lq_core.cli.configuration import split_names
from lq_core.foundation.errors import ConfigurationError
from lq_core.queue import RecordFilter
from lq_core.queue.search import values_of
from lq_core.records.record import TaskStatus
from lq_core.service import QueueService

EVERYTHING: Final = RecordFilter()
STATUS: Final = click.Choice([status.value for status in TaskStatus])
FIELDS: Final = (
    *("statuses", "queues", "task_names", "execution_backends", "key", "schedule"),
    *("text", "values", "error_type", "worker_id"),
)
"""The fields of a RecordFilter that have an option."""


def _split(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> Sequence[str] | None:
    return split_names(texts) or None


def _values(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> Mapping[str, str]:
    try:
        return values_of(texts)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error


_several = partial(click.option, multiple=True, callback=_split)
OPTIONS: Final = (
    _several("--status", "statuses", type=STATUS, help="May be repeated."),
    _several("--queue", "queues", metavar="QUEUE", help="Records of these queues; separate several with commas."),
    _several("--task", "task_names", metavar="TASK", help="Records of these tasks; separate several with commas."),
    _several(
        "--backend",
        "execution_backends",
        metavar="NAME",
        help="Records of these execution backends; separate several with commas.",
    ),
    click.option("--key", help="Records with this unique key."),
    click.option("--schedule", metavar="NAME", help="Records of this schedule."),
    click.option("--text", help="Records with this in their task, arguments, metadata or last error. Case matters."),
    click.option(
        "--value",
        "values",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_values,
        help="Records with this value, as in metadata.tenant=acme or arguments.order_id=17; may be repeated.",
    ),
    click.option("--error-type", metavar="TYPE", help="Records whose last error is of this type, as in ValueError."),
    click.option(
        "--worker", "worker_id", metavar="ID", help="Records that this worker runs, or that name it in their history."
    ),
)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which gets them as one argument, *condition*."""

    @wraps(command)
    def with_condition(**options: object) -> None:
        fields = {field: options.pop(field) for field in FIELDS}
        try:
            condition = msgspec.convert(fields, RecordFilter)
        except msgspec.ValidationError as error:
            raise click.UsageError(str(error)) from error
        command(condition=condition, **options)

    for option in reversed(OPTIONS):
        with_condition = option(with_condition)
    return with_condition


async def none_matches(service: QueueService, condition: RecordFilter) -> str:
    """Say that no record matches. If a named queue has no records, list the queues that have some."""
    known = (await service.statistics()).counts
    unknown = [queue for queue in condition.queues or () if queue not in known]
    if not unknown or not known:
        return "No record matches."
    return f"No record matches: there is none in {', '.join(unknown)}. Queues with records: {', '.join(sorted(known))}."
