"""Nothing is said twice; what must be said twice agrees."""

import inspect
import re
from collections.abc import Sequence
from dataclasses import fields

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lq_core import OptionArguments, QueueConfig, TaskOptions, task
from lq_core.config.environment import SETTINGS
from tree import ROOT, Package, files, names, packages, place, table, toml

NAMES = [package.name for package in packages()]
MODULES = [package.module for package in packages()]
WORKSPACE = toml(ROOT / "pyproject.toml")
CHECKS = ROOT / ".github/workflows/checks.yml"
CLASSIFIER = "Programming Language :: Python :: 3."
SYSTEM = "Operating System :: "
PAPERS = ["README.md", "LICENSE", "CHANGELOG.md", "changes"]
# Written so that this file does not contain what it forbids.
ELSEWHERE = re.compile(
    r"(?<![\w.~-])/(work|root|home|tmp)/|\b(py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js)"
)


each_package = pytest.mark.parametrize("package", packages(), ids=NAMES)


def matrix(key: str) -> Sequence[str]:
    """A list of the CI matrix."""
    [written] = re.findall(rf"^ +{key}: \[(.*)\]$", CHECKS.read_text(), flags=re.MULTILINE)
    return re.findall(r"[\w.-]+", written)


def pythons(package: Package) -> Sequence[str]:
    """The versions of Python that a package says it runs on."""
    said = names(package.project, "classifiers")
    return [line.removeprefix("Programming Language :: Python :: ") for line in said if line.startswith(CLASSIFIER)]


def test_every_package_is_a_source_of_the_workspace() -> None:
    assert sorted(table(WORKSPACE, "tool", "uv", "sources")) == NAMES


def test_every_package_is_in_the_shared_environment() -> None:
    group = names(table(WORKSPACE, "dependency-groups"), "workspace")

    assert sorted(Requirement(line).name for line in group) == NAMES


def test_the_floors_are_checked_for_every_package() -> None:
    assert sorted(names(table(WORKSPACE, "tool", "importlinter"), "root_packages")) == MODULES


def test_ci_checks_every_package_alone() -> None:
    assert matrix("package") == NAMES


def test_the_readme_lists_every_package() -> None:
    text = (ROOT / "README.md").read_text()

    assert re.findall(r"^\| \[`(lq-\w+)`\]\(packages/\1\)", text, flags=re.MULTILINE) == NAMES


def test_the_reference_shows_every_package() -> None:
    assert re.findall(r"^## (lq-\w+)$", (ROOT / "docs/reference.md").read_text(), flags=re.MULTILINE) == NAMES


@each_package
def test_a_package_runs_on_every_python_that_ci_tries(package: Package) -> None:
    assert pythons(package) == matrix("python")


@each_package
def test_a_package_names_the_operating_systems_that_ci_tries(package: Package) -> None:
    said = [line.removeprefix(SYSTEM) for line in names(package.project, "classifiers") if line.startswith(SYSTEM)]

    assert said == [*(["MacOS"] if package.name in matrix("macos") else []), "POSIX :: Linux"]


@each_package
def test_a_package_asks_for_the_oldest_python_that_ci_tries(package: Package) -> None:
    assert (
        package.project["requires-python"]
        == f">={matrix('python')[0]}"
        == table(WORKSPACE, "project")["requires-python"]
    )


@each_package
def test_a_package_allows_its_siblings_as_they_are(package: Package) -> None:
    versions = {each.name: str(each.project["version"]) for each in packages()}
    asked = [Requirement(line) for line in names(package.project, "dependencies")]
    refused = [each for each in asked if each.name in versions and versions[each.name] not in each.specifier]
    unbounded = [each for each in asked if each.name in versions and each.specifier == SpecifierSet()]

    assert (refused, unbounded) == ([], [])


@each_package
def test_a_package_has_its_papers(package: Package) -> None:
    missing = [name for name in PAPERS if not (package.folder / name).exists()]

    assert missing == []
    assert (package.source / "py.typed").is_file()


@each_package
def test_a_package_has_the_licence_of_the_house(package: Package) -> None:
    assert (package.folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@each_package
def test_a_package_keeps_its_tool_configuration_at_the_root(package: Package) -> None:
    assert "tool" not in toml(package.folder / "pyproject.toml")


def test_every_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in files(".py") if path.is_relative_to(ROOT / "tests"))
    examples = [path for path in files(".py") if path.is_relative_to(ROOT / "docs/examples")]
    others = [path for path in examples if not path.name.startswith("test_")]

    assert [place(path) for path in others if path.name not in tests] == []


def test_nothing_names_a_machine_or_an_index() -> None:
    named = [
        place(path, number)
        for path in files(".py", ".md", ".toml", ".yml", ".yaml", ".sql", ".sh", ".html", ".js", "")
        if path.name != "uv.lock"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if ELSEWHERE.search(line)
    ]

    assert named == []


def test_help_lists_every_option_of_a_task() -> None:
    listed = re.findall(r"^\* ``(\w+)``: .*\.$", inspect.getdoc(task) or "", flags=re.MULTILINE)

    assert sorted(listed) == sorted(OptionArguments.__annotations__) == sorted(TaskOptions.__struct_fields__)


def test_the_page_of_options_says_what_help_says() -> None:
    listed = re.findall(r"^\* ``(\w+)``: (.*\.)$", inspect.getdoc(task) or "", flags=re.MULTILINE)
    rows = [f"| `{name}` | {meaning.replace('``', '`')} |" for name, meaning in listed]

    page = (ROOT / "docs/options.md").read_text()
    assert [row for row in page.splitlines() if row.startswith("| `")] == rows


def test_the_page_of_variables_lists_every_setting() -> None:
    page = (ROOT / "docs/environment.md").read_text()
    listed = re.findall(r"^\| `LQ_(\w+)` \| `config_from_environment", page, re.MULTILINE)

    assert listed == [name.upper() for name in SETTINGS]
    assert set(SETTINGS) <= {each.name for each in fields(QueueConfig)}
