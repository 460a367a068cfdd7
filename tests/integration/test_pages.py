"""The pages are true: their examples print the output below them, and their diagram and tables match the code."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from msgspec import json

import lq_core
from lq_core import QueueError
from lq_core.cli import main
from lq_core.cli.commands import every
from lq_core.config.environment import IN_APP_WORKER, PREFIX, SETTINGS
from lq_core.records.lifecycle import MOVES

ROOT = Path(__file__).parents[2]
FOLDERS = {
    path.parent.relative_to(source).as_posix(): path.parent
    for source in ROOT.glob("packages/*/src")
    for path in source.glob("lq_*/**/__init__.py")
    if path.parent.name != "migrations"
}
"""Every package and every room, by the name that the page of the architecture gives it."""

PAGES = [
    "README.md",
    "docs/fairness.md",
    "docs/tour.md",
    "docs/lifecycle.md",
    "docs/limits.md",
    "docs/retries.md",
    "docs/steps.md",
    "docs/types.md",
    "docs/unique.md",
    "packages/lq-core/README.md",
    "packages/lq-local/README.md",
]

STRICT = ("-W", "error", "-W", "ignore:The declarative_mixin decorator")
"""Warnings are errors, except the one of Advanced Alchemy, which Litestar imports if it is there."""


def blocks(page: str, language: str) -> str:
    """All blocks of a language on a page, in one text."""
    return "".join(re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_print_what_it_says(page: str, tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text(blocks(page, "python"))

    command = [sys.executable, *STRICT, example]
    printed = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)

    assert (printed.returncode, printed.stdout) == (0, blocks(page, "text")), printed.stderr


def test_the_example_for_editors_runs(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(blocks("docs/llms.txt", "python"))

    command = [sys.executable, *STRICT, "example.py"]
    printed = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)

    assert (printed.returncode, printed.stdout) == (0, "pending 3\n"), printed.stderr


def test_the_diagram_shows_every_step_of_the_lifecycle_and_no_other() -> None:
    assert "(images/lifecycle.svg)" in (ROOT / "docs/lifecycle.md").read_text()
    picture = (ROOT / "docs/images/lifecycle.svg").read_text()
    drawn = re.findall(r'<g data-from="(\w+)" data-to="(\w+)"><path', picture)

    assert sorted(drawn) == sorted((before, after) for before, steps in MOVES.items() for after in steps)


def test_the_comparison_shows_the_results_of_its_file() -> None:
    program = """
import chart, json, results
found = results.read()
figures = [results.written(shown, found.figure(queue, shown)) for queue in found.found for shown in chart.SHOWN]
print(json.dumps([results.tables(found), [*found.found, *figures]]))
"""
    folders = [ROOT / "tests/benchmarks", ROOT / "tests/benchmarks/peers"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout
    tables, labels = json.decode(printed, type=tuple[str, list[str]])
    picture = (ROOT / "docs/images/peers.svg").read_text()

    assert tables in (ROOT / "docs/performance.md").read_text()
    assert len(labels) > 8
    assert [label for label in labels if label != "none" and f">{label}</text>" not in picture] == []


def test_the_architecture_lists_every_room_with_its_own_sentence() -> None:
    listed = rows("docs/architecture.md", r"`(lq_\w+(?:/\w+)*)` \| (.*)")

    assert dict(listed) == {name: purpose(folder) for name, folder in FOLDERS.items()}
    assert len(listed) == len(FOLDERS)


def test_the_catalogue_lists_every_error() -> None:
    listed = [name for name, _ in rows("docs/errors.md", r"`(\w+Error)` \| (.*)")]

    assert sorted(listed) == sorted(
        name
        for name, one in vars(lq_core).items()
        if isinstance(one, type) and issubclass(one, QueueError) and one is not QueueError
    )


def test_the_page_of_the_environment_lists_every_variable() -> None:
    sources = [path.read_text() for path in ROOT.glob("packages/*/src/**/*.py")]
    read = {name for source in sources for name in re.findall(r'"(LQ_[A-Z_]+)"', source)}
    settings = {f"{PREFIX}{name.upper()}" for name in (*SETTINGS, IN_APP_WORKER)}
    listed = set(
        re.findall(r"^\| `(LQ_[A-Z_]+)`|`(LQ_SUPERVISOR)`", (ROOT / "docs/environment.md").read_text(), re.MULTILINE)
    )

    assert {first or second for first, second in listed} == read | settings
    assert read


def test_every_place_that_the_architecture_names_exists() -> None:
    named = set(re.findall(r"`(lq_\w+/[\w/]+(?:\.py)?)`", (ROOT / "docs/architecture.md").read_text()))

    assert [place for place in sorted(named) if not list(ROOT.glob(f"packages/*/src/{place}"))] == []
    assert named


def test_no_page_uses_a_retired_word_of_the_glossary() -> None:
    columns = [retired for _, _, retired in rows("docs/glossary.md", r"(.*) \| (.*) \|(.*)")]
    words = [word for column in columns for word in re.findall("`(.*?)`", column)]
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md"), ROOT / "README.md"]
    used = [
        (path.name, word)
        for path in pages
        if path.name != "glossary.md"
        for word in re.findall(rf"\b(?:{'|'.join(words)})\b", prose(path), re.IGNORECASE)
    ]

    assert used == []
    assert words


def test_the_commands_are_listed_with_their_summaries() -> None:
    leaves = [one for one in every(main) if not isinstance(one, click.Group)]
    listed = rows("docs/cli.md", r"`lq ([\w ]+)` \| (.*)")

    assert sorted(summary for _, summary in listed) == sorted(one.get_short_help_str(200) for one in leaves)
    assert [command for command, summary in listed if summary != found(command.split()).get_short_help_str(200)] == []


@pytest.mark.parametrize("page", sorted(path.name for path in ROOT.glob("docs/*.md")))
def test_every_command_of_a_page_can_be_typed(page: str) -> None:
    typed = [line.partition("|")[0] for line in blocks(f"docs/{page}", "sh").splitlines() if line.startswith("lq ")]
    answers = [CliRunner().invoke(main, [*shlex.split(line, comments=True)[1:], "--help"]) for line in typed]

    assert [answer.output for answer in answers if answer.exit_code] == []


def found(words: list[str]) -> click.Command:
    """The command with these words."""
    command: click.Command | None = main
    for word in words:
        assert isinstance(command, click.Group)
        command = command.commands.get(word)
    assert command
    return command


def rows(page: str, columns: str) -> list[list[str]]:
    """The rows of all tables of a page that have these columns."""
    found = re.finditer(rf"^\| {columns} \|$", (ROOT / page).read_text(), re.MULTILINE)
    return [list(row.groups()) for row in found]


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def purpose(folder: Path) -> str:
    """The first paragraph of the docstring of a package, as it is written in Markdown."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    return docstring.partition("\n\n")[0].replace("\n", " ").replace("``", "`")
