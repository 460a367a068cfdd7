"""The configuration, the modules, ids and help are the same in every command."""

import shlex
import sys
from pathlib import Path

import pytest
from click import Command as AnyCommand
from click import Group
from click.testing import CliRunner

from lq_core.cli import main
from lq_core.cli.options import Command
from programs import PATIENCE, Answer, run
from sqlite_file import SQLiteFile

LQ = (sys.executable, "-m", "lq_core")
ELSEWHERE = """
from lq_core import QueueConfig
from lq_core.queue.sqlite import SQLiteConfig
from shop import Here, send

config = QueueConfig(queue_backend=SQLiteConfig(path="elsewhere.db"), execution_backend="here")
"""


@pytest.fixture
def elsewhere(folder: Path) -> Path:
    """An application whose records are not in lq.db."""
    (folder / "elsewhere.py").write_text(ELSEWHERE)
    return folder


async def lq(folder: Path, *words: str, **environment: str) -> Answer:
    return await run(*LQ, *words, folder=folder, within=PATIENCE, **environment)


def named(command: AnyCommand, name: str = "lq") -> dict[str, AnyCommand]:
    """Every command, by the words that are typed for it."""
    inner = command.commands.items() if isinstance(command, Group) else ()
    return {name: command} | {
        words: one for part, each in inner for words, one in named(each, f"{name} {part}").items()
    }


COMMANDS = named(main)
EXAMPLES = {
    f"{name} {example}".partition(" > ")[0]: (command, example.partition(" > ")[0])
    for name, command in COMMANDS.items()
    if isinstance(command, Command)
    for example in command.examples
}


@pytest.mark.parametrize(
    "words",
    [
        ["queues", "pause", "elsewhere:config", "mail"],
        ["queues", "pause", "-c", "elsewhere:config", "mail"],
        ["queues", "pause", "mail", "-c", "elsewhere:config"],
        ["queues", "-c", "elsewhere:config", "pause", "mail"],
        ["--config", "elsewhere:config", "queues", "pause", "mail"],
    ],
)
async def test_the_configuration_is_the_first_argument_or_an_option_anywhere(elsewhere: Path, words: list[str]) -> None:
    migrated = await lq(elsewhere, "migrate", "elsewhere:config")
    paused = await lq(elsewhere, *words)

    assert (migrated.code, paused.code, paused.out) == (0, 0, "mail is paused.\n")
    assert "paused" in (await lq(elsewhere, "queues", "list", LQ_CONFIG="elsewhere:config")).out
    assert not (elsewhere / "lq.db").exists()


async def test_a_name_with_a_colon_comes_after_two_dashes(elsewhere: Path) -> None:
    await SQLiteFile(elsewhere / "lq.db").put("shop.send", queue="mail:urgent")

    refused = await lq(elsewhere, "queues", "pause", "mail:urgent")
    paused = await lq(elsewhere, "queues", "pause", "--", "mail:urgent")

    assert (refused.code, "Missing argument 'QUEUE...'" in refused.err) == (2, True)
    assert "mail:urgent names the configuration; put -- before a name with a colon." in refused.err
    assert paused.out == "mail:urgent is paused.\n"


async def test_modules_are_named_wherever_tasks_matter(folder: Path) -> None:
    (folder / "more.py").write_text("from lq_core import task\n\n@task(name='more.tell')\nasync def tell(): ...\n")

    enqueued = await lq(folder, "enqueue", "shop:queue", "more.tell", "-m", "more")

    for words in (["tasks", "shop:queue", "-m", "more"], ["tasks", "--module", "shop,more"]):
        assert "more.tell" in (await lq(folder, *words)).out
    assert (enqueued.code, enqueued.out.split()[1]) == (0, "pending")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_summary_that_is_shown_whole(name: str) -> None:
    summary = COMMANDS[name].get_short_help_str(limit=200)

    assert 0 < len(summary) <= 63


@pytest.mark.parametrize("typed", EXAMPLES)
def test_every_example_can_be_typed(typed: str) -> None:
    command, example = EXAMPLES[typed]

    assert command.make_context("lq", shlex.split(example))


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, Command)])
def test_every_command_has_an_example(name: str) -> None:
    assert name in {typed[: len(name)] for typed in EXAMPLES}


def test_wrong_words_are_refused_before_the_queue_is_opened() -> None:
    result = CliRunner().invoke(main, ["records", "show", "nonsense"])

    assert result.exit_code == 2
    assert "'nonsense' is not the id of a record" in " ".join(result.output.split())
