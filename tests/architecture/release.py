"""
The local part of a release of one package; nothing is uploaded.

It checks what would be released, folds the change notes into the changelog, keeps the public names for the next
release to compare with, and says which commit and tag to push. Run it by ``./dev release``.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from distributions import build, faults
from public_api import compare, surface
from tree import ROOT, Package, packages

START: Final = "<!-- towncrier release notes start -->\n"


class NotReadyError(Exception):
    """The package cannot be released as it is; the message says why, one reason a line."""


class Release:
    """One package at the version that its project file names."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.version = str(package.project["version"])
        self.tag = f"{package.name}/v{self.version}"
        self.changelog = package.folder / "CHANGELOG.md"
        self.api = package.folder / "api.txt"

    @property
    def is_first(self) -> bool:
        """Whether no version of the package has been released."""
        return not self.api.exists()

    @property
    def fragments(self) -> Sequence[Path]:
        return sorted(self.package.folder.glob("changes/*.md"))

    def obstacles(self) -> Sequence[str]:
        """What has to be done before this version can be released."""
        found = list[str]()
        if git("status", "--porcelain"):
            found.append("The tree has changes that are not committed: commit or drop them.")
        if git("tag", "--list", self.tag):
            found.append(f"There is a tag {self.tag} already: raise the version in {self.package.name}/pyproject.toml.")
        found += self.faults_of_the_notes()
        return found

    def faults_of_the_notes(self) -> Sequence[str]:
        """What the changelog or the change notes lack. The first release is described, and has changed nothing."""
        section, names = f"## {self.version}", ", ".join(path.name for path in self.fragments)
        described = f"\n{section}" in self.changelog.read_text()
        if self.is_first and names:
            remedy = f"say what the package does in the section `{section}` of CHANGELOG.md, and delete the notes"
            return [f"changes/ has {names}, but no version of {self.package.name} has been released: {remedy}."]
        if self.is_first and not described:
            return [f"CHANGELOG.md has no section `{section}`: add one that says what the package does."]
        if not names and not described:
            return ["There is no change note: add one to changes/, or there is nothing to release."]
        return []

    def notes(self) -> str:
        """The change notes as they will stand in the changelog, without a heading; empty if there are none."""
        if not self.fragments:
            return ""
        where = ("--dir", str(self.package.folder), "--config", str(ROOT / "towncrier.toml"))
        drafted = output(
            *(sys.executable, "-m", "towncrier", "build", "--draft", *where),
            *("--name", self.package.name, "--version", self.version),
        )
        return drafted.partition("\n")[2].strip()

    def fold(self, notes: str) -> None:
        """Move the notes into the changelog, under the heading of this version, and keep the public names."""
        heading = f"## {self.version} ({datetime.now(UTC).date()})"
        before, _, after = self.changelog.read_text().partition(START)
        section = re.compile(rf"^## {re.escape(self.version)}\b[^\n]*\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
        written = section.search(after)
        parts = [heading, written[1].strip() if written else "", notes, section.sub("", after).strip()]
        self.changelog.write_text(f"{before}{START}\n" + "\n\n".join(part for part in parts if part) + "\n")
        for fragment in self.fragments:
            fragment.unlink()
        self.api.write_text("".join(f"{line}\n" for line in surface(self.package)))

    def difference(self) -> tuple[Sequence[str], str | None]:
        """Compare the public names with the last release: what to say, and what hinders this one."""
        names = surface(self.package)
        if self.is_first:
            return [f"{len(names)} lines; no earlier release to compare with"], None
        found = compare(self.api.read_text().splitlines(), names)
        said = [f"removed: {name}" for name in found.removed]
        said += [f"changed: {before}\n       to: {after}" for before, after in found.changed]
        said += [f"added: {name}" for name in found.added]
        kinds = {path.name.split(".")[-2] for path in self.fragments}
        if found.removed and not kinds & {"removed", "changed"}:
            return said, "Public names are removed, and no change note of the kind `removed` or `changed` says so."
        return said or ["no difference"], None

    def distributions(self, into: Path, address: str | None) -> Sequence[str]:
        """Build into a folder, and answer with the names of the files."""
        built = build(self.package, into, address=address, at=self.tag)
        if wrong := faults(self.package, built):
            raise NotReadyError("\n".join(wrong))
        return [path.name for path in built]


def address_of_origin() -> str | None:
    """The address at which people see the repository, if it has one."""
    origin = subprocess.run(
        ["git", "remote", "get-url", "origin"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    found = re.fullmatch(r"(?:https://|ssh://git@|git@)([\w.-]+)[:/]([\w./-]+?)(?:\.git)?/?\n", origin.stdout)
    return f"https://{found[1]}/{found[2]}" if found else None


def output(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ).stdout


def git(*arguments: str) -> str:
    return output("git", *arguments)


def say(subject: str, lines: Iterable[str]) -> None:
    print(f"\n{subject}")
    for line in lines:
        print(f"  {line}")


def release(package: Package, *, dry_run: bool) -> None:
    """Check everything, say what was found, and write it unless this is a dry run."""
    it, address = Release(package), address_of_origin()
    if obstacles := it.obstacles():
        raise NotReadyError("\n".join(obstacles))
    said, missing = it.difference()
    say("Public names, compared with the last release", said)
    if missing:
        raise NotReadyError(missing)
    notes = it.notes()
    say("Change notes", notes.splitlines() or [f"none in changes/: CHANGELOG.md describes {it.version}"])
    with TemporaryDirectory(prefix="release-") as made:
        say("Distributions", it.distributions(Path(made), address))
    say("Links of the README lead to", [address or "nowhere: git has no remote `origin` with an address"])
    if not dry_run:
        it.fold(notes)
    say(
        "Nothing was changed. Without --dry-run, these are the next steps" if dry_run else "The next steps",
        [
            f'git add --all && git commit --message "Release {package.name} {it.version}"',
            f"git tag {it.tag}",
            f"git push origin HEAD {it.tag}   # the workflow tests, builds and publishes",
        ],
    )


def main() -> None:
    every = {package.name: package for package in packages()}
    parser = argparse.ArgumentParser(prog="./dev release", description="The local part of a release of one package.")
    parser.add_argument("package", choices=sorted(every))
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--dry-run", action="store_true", help="change nothing")
    choice.add_argument(
        "--build", metavar="FOLDER", type=Path, help="only build into FOLDER and check, as the workflow does"
    )
    options = parser.parse_args()
    package = every[cast("str", options.package)]
    folder = cast("Path | None", options.build)
    try:
        if folder:
            say("Built", Release(package).distributions(folder, address_of_origin()))
        else:
            release(package, dry_run=cast("bool", options.dry_run))
    except NotReadyError as error:
        sys.exit(f"\n{package.name} cannot be released:\n{error}")


if __name__ == "__main__":
    main()
