"""What a release of a package would be: its files, its public names and its notes. A dry run changes nothing."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from distributions import build, contents, faults
from public_api import compare, surface
from release import Release
from tree import ROOT, Package, files, packages, table, toml

IDENTITY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
TOWNCRIER = cast("dict[str, list[dict[str, str]]]", table(toml(ROOT / "towncrier.toml"), "tool", "towncrier"))
ADDRESS = "https://git.example/lq/lq"

each_package = pytest.mark.parametrize("package", packages(), ids=[package.name for package in packages()])


class Clone:
    """A clean clone of the repository, with what is not committed yet, and without the change notes of lq-local."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for path in files():
            if path.match("packages/lq-local/changes/*.md"):
                continue
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        self.git("init", "--quiet")
        self.git("remote", "add", "origin", "git@git.example:lq/lq.git")
        self.commit()

    def git(self, *arguments: str) -> str:
        command = ("git", *arguments)
        environment = {**os.environ, **IDENTITY}
        return subprocess.run(
            command, cwd=self.folder, check=True, capture_output=True, text=True, env=environment
        ).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Everything")

    def release(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "tests/architecture/release.py", *arguments)
        return subprocess.run(command, cwd=self.folder, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(tmp_path_factory.mktemp("clone"))


@each_package
def test_the_distributions_contain_the_package_and_nothing_else(package: Package, tmp_path: Path) -> None:
    built = build(package, tmp_path, address=ADDRESS, at="v1")

    assert faults(package, built) == []
    [wheel] = tmp_path.glob("*.whl")
    assert f"{package.module}/py.typed" in contents(wheel)


def test_what_is_missing_in_a_distribution_or_too_much_is_named(tmp_path: Path) -> None:
    [core, postgres] = [package for package in packages() if package.name in {"lq-core", "lq-postgres"}]
    [wheel] = [path for path in build(postgres, tmp_path) if path.suffix == ".whl"]

    wrong = faults(core, [wheel])

    assert "lq_core-0.1.0-py3-none-any.whl was not built" in wrong
    assert "lq_postgres-0.1.0-py3-none-any.whl was built besides" in wrong


@each_package
def test_every_change_note_has_a_kind(package: Package) -> None:
    kinds = {path.name.split(".")[-2] for path in Release(package).fragments}

    assert kinds <= {each["directory"] for each in TOWNCRIER["type"]}


def test_a_dry_run_in_a_clean_clone_changes_nothing(clone: Clone) -> None:
    ran = clone.release("lq-local", "--dry-run")

    assert ran.returncode == 0, ran.stderr
    assert "no earlier release to compare with" in ran.stdout
    assert "none in changes/: CHANGELOG.md describes 0.1.0" in ran.stdout
    assert "git tag lq-local/v0.1.0" in ran.stdout
    assert clone.git("status", "--porcelain") == ""


def test_before_the_first_release_a_note_is_refused(clone: Clone) -> None:
    note = clone.folder / "packages/lq-local/changes/+one.fixed.md"
    note.write_text("A fault that no release has had.\n")
    clone.commit()

    refused = clone.release("lq-local", "--dry-run")

    note.unlink()
    clone.commit()
    assert refused.returncode == 1
    assert "changes/ has +one.fixed.md, but no version of lq-local has been released" in refused.stderr
    assert "the section `## 0.1.0` of CHANGELOG.md" in refused.stderr


def test_before_the_first_release_the_changelog_has_to_describe_the_package(clone: Clone) -> None:
    changelog = clone.folder / "packages/lq-local/CHANGELOG.md"
    written = changelog.read_text()
    changelog.write_text(written.partition("## 0.1.0")[0])
    clone.commit()

    refused = clone.release("lq-local", "--dry-run")

    changelog.write_text(written)
    clone.commit()
    assert refused.returncode == 1
    assert "CHANGELOG.md has no section `## 0.1.0`" in refused.stderr


def test_a_release_folds_the_notes_and_the_next_one_says_what_was_removed(clone: Clone) -> None:
    folder = clone.folder / "packages/lq-local"
    changelog, project = folder / "CHANGELOG.md", folder / "pyproject.toml"
    described = changelog.read_text().partition("## 0.1.0\n")[2]

    first = clone.release("lq-local")

    assert first.returncode == 0, first.stderr
    assert changelog.read_text().count("## 0.1.0 (") == 1
    assert changelog.read_text().endswith(described)
    clone.commit()
    clone.git("tag", "lq-local/v0.1.0")
    assert "There is a tag lq-local/v0.1.0 already" in clone.release("lq-local", "--dry-run").stderr
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))
    clone.commit()
    assert "There is no change note" in clone.release("lq-local", "--dry-run").stderr
    (folder / "changes/+one.added.md").write_text("One more thing.\n")
    assert "not committed" in clone.release("lq-local").stderr
    clone.commit()

    second = clone.release("lq-local")

    assert second.returncode == 0, second.stderr
    assert list(folder.glob("changes/*.md")) == []
    newest = changelog.read_text().partition("## 0.2.0 (")[2].partition("## 0.1.0 (")
    assert "- One more thing." in newest[0]
    assert newest[2].endswith(described)
    door = folder / "src/lq_local/__init__.py"
    door.write_text(door.read_text().replace('    "ProcessDiedError",\n', ""))
    clone.commit()
    refused = clone.release("lq-local", "--dry-run")
    assert "removed: lq_local.ProcessDiedError\n" in refused.stdout
    assert "no change note of the kind `removed` or `changed`" in refused.stderr


def test_a_package_leads_to_the_repository(tmp_path: Path) -> None:
    [postgres] = [package for package in packages() if package.name == "lq-postgres"]
    build(postgres, tmp_path, address=ADDRESS, at="lq-postgres/v0.1.0")
    [archive] = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xzf", archive], cwd=tmp_path, check=True)

    metadata = (tmp_path / "lq_postgres-0.1.0/PKG-INFO").read_text()

    assert f"Project-URL: Source, {ADDRESS}\n" in metadata
    assert f"({ADDRESS}/blob/lq-postgres/v0.1.0/docs/postgres.md)" in metadata


@pytest.mark.parametrize(
    "before, after, removed, changed, added",
    [
        (["a.f(x)"], ["a.f(x)"], [], [], []),
        (["a.f(x)", "a.g"], ["a.g"], ["a.f"], [], []),
        (["a.f(x)"], ["a.f(x, y)"], [], [("a.f(x)", "a.f(x, y)")], []),
        (["a.C(B)"], ["a.C(B)", "a.C.x: int"], [], [], ["a.C.x"]),
    ],
)
def test_public_names_are_compared(
    before: Sequence[str], after: Sequence[str], removed: object, changed: object, added: object
) -> None:
    found = compare(before, after)

    assert (found.removed, found.changed, found.added) == (removed, changed, added)


def test_the_public_names_have_their_signatures() -> None:
    [local] = [package for package in packages() if package.name == "lq-local"]
    names = surface(local)

    assert "lq_local.LocalExecutionBackend(InProcessExecutionBackend)" in names
    assert "lq_local.LocalExecutionBackend.close(self) -> None [async]" in names
    assert "lq_local.ProcessExecutionConfig.processes: Count | None = None" in names
