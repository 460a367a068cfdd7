"""``lq enqueue``: stores one call of a task."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import click
import msgspec

from lq_core.cli.display import print_json, record_to_json
from lq_core.cli.ids import find_id, record_id
from lq_core.cli.options import Command, json_option, modules_option
from lq_core.cli.output import echo
from lq_core.cli.session import with_service_and_tasks
from lq_core.foundation.errors import InvalidArgumentError, QueueError
from lq_core.service import QueueService
from lq_core.service.result import EnqueueOutcome
from lq_core.tasks.known_tasks import find_task
from lq_core.tasks.options import OptionArguments
from lq_core.tasks.task import AnyTask

WORDS: Final[Mapping[EnqueueOutcome, str]] = {
    EnqueueOutcome.EXISTING: "existing: this record holds the key",
    EnqueueOutcome.REPLACED: "replaced: this record held the key",
}


def _option(context: click.Context, parameter: click.Parameter, pairs: Sequence[str]) -> OptionArguments:
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE.", context, parameter)
        options[name] = _value(value)
    return cast("OptionArguments", options)


@click.command(
    "enqueue",
    cls=Command,
    examples=("shop.tasks.send ada@example.com language=de", "shop.tasks.add 3 4 -o queue=sums -o delay=60"),
)
@click.argument("name", metavar="TASK")
@click.argument("arguments", metavar="[ARG...]", nargs=-1)
@click.option(
    *("-o", "--option", "options"),
    metavar="NAME=VALUE",
    multiple=True,
    callback=_option,
    help="An option of task.using(), such as queue=mail; may be repeated.",
)
@modules_option
@json_option("the whole record as JSON")
@with_service_and_tasks
async def enqueue(
    service: QueueService, *, name: str, arguments: Sequence[str], options: OptionArguments, as_json: bool
) -> None:
    """
    Store one call of a task for a worker.

    An argument is read as JSON if it is JSON, otherwise as text: 3, true, '{"a": 1}', Ada. Quote text that looks like
    JSON: '"3"'. PARAMETER=VALUE passes a parameter by its name. Put -- before an argument that begins with a dash.
    """
    task = find_task(name)
    by_position, by_name = _read(task, arguments)
    if after := options.get("after"):
        ids = [after] if isinstance(after, str) else after
        options["after"] = [await find_id(service, record_id(str(one))) for one in ids]
    try:
        result = await service.enqueue(task.using(**options), *by_position, **by_name)
    except InvalidArgumentError as error:
        if all(isinstance(value, str) for value in (*by_position, *by_name.values())):
            raise
        raise QueueError(f"{error}. Text that looks like JSON needs quotes: '\"3\"'.") from None
    if as_json:
        print_json(record_to_json(result.record))
    else:
        echo(f"{result.id}  {WORDS.get(result.outcome, result.record.status)}")


def _read(task: AnyTask, arguments: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    by_position: list[Any] = []
    by_name: dict[str, Any] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals and name in task.codec.signature.parameters:
            by_name[name] = _value(value)
        else:
            by_position.append(_value(argument))
    return by_position, by_name


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
