"""What belongs to the house: its packages, its files, and how to read them."""

import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Package:
    """One folder of ``packages/``."""

    name: str
    """As it is installed, such as ``lq-core``."""

    @property
    def folder(self) -> Path:
        return ROOT / "packages" / self.name

    @property
    def module(self) -> str:
        """As it is imported, such as ``lq_core``."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        return self.folder / "src" / self.module

    @property
    def tests(self) -> Path:
        return ROOT / "tests" / self.module

    @property
    def project(self) -> Mapping[str, object]:
        return table(toml(self.folder / "pyproject.toml"), "project")

    @property
    def extras(self) -> Sequence[str]:
        return sorted(table(self.project, "optional-dependencies"))


def packages() -> Sequence[Package]:
    """Every package, in the order of their names."""
    found = [Package(name=path.parent.name) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))]
    assert found, "there is no package"
    return found


def files(*suffixes: str) -> Sequence[Path]:
    """
    What git keeps or would keep, with one of *suffixes*; with none given, everything.

    A list of nothing is an error: it would let every rule pass.
    """
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    paths = [ROOT / name for name in listed if name]
    found = [path for path in sorted(paths) if path.is_file() and (not suffixes or path.suffix in suffixes)]
    assert found, f"there is no file with {suffixes}"
    return found


def sources() -> Sequence[Path]:
    """Every Python file of every package."""
    found = [path for path in files(".py") if path.is_relative_to(ROOT / "packages")]
    assert found, "there is no source"
    return found


def place(path: Path, line: int | None = None) -> str:
    """Where something was found, for a message that can be clicked."""
    name = path.relative_to(ROOT).as_posix()
    return name if line is None else f"{name}:{line}"


def toml(path: Path) -> Mapping[str, object]:
    return tomllib.loads(path.read_text())


def table(of: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    """The table at *keys*; an empty one where there is none."""
    for key in keys:
        of = cast("Mapping[str, object]", of.get(key, {}))
    return of


def names(of: Mapping[str, object], key: str) -> Sequence[str]:
    """The list of strings at *key*; an empty one where there is none."""
    return cast("Sequence[str]", of.get(key, []))
