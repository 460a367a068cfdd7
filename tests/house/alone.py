"""
Shows that a package stands alone: its wheel, in an environment that holds nothing else.

In the shared environment an undeclared import passes every test, and so does a version floor that is too low.
Here each package is built, installed by itself, every module imported, its own tests run with warnings as errors, and
the examples of its README; once at the newest versions that it allows, and once at the lowest.
Run it by ``./dev alone``.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, cast

from tree import ROOT, Package, packages

UV: Final = os.environ.get("UV", "uv")
ENVIRONMENT: Final = {
    key: value
    for key, value in os.environ.items()
    if key not in {"VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT"}
}
NEWEST: Final = "highest"
LOWEST: Final = "lowest-direct"

# Run by the other interpreter. A module that needs an extra is named after it, or says so in its docstring.
IMPORT_ALL: Final = """
import ast, importlib, pkgutil, sys

name, *without = sys.argv[1:]
package = importlib.import_module(name)
assert package.__file__.startswith(sys.prefix), f"{name} comes from {package.__file__}"

def needs_an_extra(finder, name):
    promise = ast.get_docstring(ast.parse(finder.find_spec(name).loader.get_source(name))) or ""
    return any(name.endswith(f".{each}") or f"needs the extra ``{each}``" in promise for each in without)

def walk(package):
    for finder, name, ispkg in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        if name.endswith(".__main__") or needs_an_extra(finder, name):
            continue
        module = importlib.import_module(name)
        yield name
        if ispkg:
            yield from walk(module)

print(f"imported {name} and {len(list(walk(package)))} modules in it, without {without}")
"""


# What a package registers, by name in its project file, is really there.
LOAD_ENTRIES: Final = """
import importlib.metadata, sys

for entry in importlib.metadata.distribution(sys.argv[1]).entry_points:
    entry.load()
    print(f"loaded {entry.name} of {entry.group}")
"""

# What the README shows, as one program in an empty folder.
RUN_EXAMPLES: Final = """
import contextlib, re, sys, tempfile

text = open(sys.argv[1]).read()
with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    exec("".join(re.findall(r"^```python\\n(.*?)^```", text, re.DOTALL | re.MULTILINE)))
print(f"ran the examples of {sys.argv[1]}")
"""


class Room(NamedTuple):
    """A folder with the wheels of every package, and one empty environment."""

    path: Path

    @property
    def python(self) -> str:
        return str(self.path / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    def wheel(self, package: Package) -> str:
        [wheel] = self.path.glob(f"dist/{package.module}-*.whl")
        return wheel.as_uri()

    def empty(self) -> None:
        call(UV, "venv", "--quiet", "--no-project", "--clear", "--python", sys.executable, str(self.path / "venv"))

    def install(self, package: Package, *more: str, extras: Sequence[str] = (), versions: str) -> None:
        """
        Install the wheel of *package*, and its dependencies at *versions*.

        The project file is named beside the wheel: "lowest" goes for what is asked for directly, and without it the
        dependencies would be those of the wheel. Siblings come from our own wheels, whatever an index may have
        under their names.
        """
        siblings = self.path / "siblings.txt"
        siblings.write_text("".join(f"{each.name} @ {self.wheel(each)}\n" for each in packages()))
        asked = [word for extra in extras for word in ("--extra", extra)]
        call(
            *(UV, "pip", "install", "--quiet", "--no-sources", "--python", self.python, "--resolution", versions),
            *("--constraints", str(siblings), f"{package.name} @ {self.wheel(package)}"),
            *("--requirements", project_file(package), *asked, *more),
        )


def project_file(package: Package) -> str:
    return (package.folder / "pyproject.toml").relative_to(ROOT).as_posix()


def call(*command: str, **more: str) -> None:
    """Run a command at the root, with *more* in its environment; its failure is ours."""
    subprocess.run(command, cwd=ROOT, env={**ENVIRONMENT, **more}, check=True, stdin=subprocess.DEVNULL)


def show(package: Package, room: Room, versions: str) -> None:
    """Install, import and test *package* by itself."""
    print(f"\n--- {package.name} alone, {versions} versions", flush=True)
    if not package.tests.is_dir():
        sys.exit(f"{package.tests.relative_to(ROOT)} is missing: {package.name} has no tests of its own.")
    room.empty()
    room.install(package, versions=versions)
    call(room.python, "-I", "-W", "error", "-c", IMPORT_ALL, package.module, *package.extras)
    room.install(package, "--group", f"{project_file(package)}:test", extras=package.extras, versions=versions)
    call(room.python, "-I", "-W", "error", "-c", IMPORT_ALL, package.module)
    call(room.python, "-I", "-W", "error", "-c", LOAD_ENTRIES, package.name)
    call(UV, "pip", "list", "--quiet", "--python", room.python, "--exclude", package.name)
    tests = package.tests.relative_to(ROOT).as_posix()
    # The lowest versions are those of what is installed; each version of a server has had its turn at the newest.
    servers = {"LQ_OLDEST_POSTGRES_ONLY": "1"} if versions == LOWEST else {}
    pytest = ("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "--confcutdir=tests", "-q", tests)
    call(room.python, "-I", *pytest, **servers)
    show_examples(package, room, versions)


def show_examples(package: Package, room: Room, versions: str) -> None:
    """Run what the README of *package* shows with nothing but what it says to install."""
    readme = package.folder / "README.md"
    [said, *_] = re.findall(r"^pip install .*", readme.read_text(), re.MULTILINE)
    siblings = [f"{each.name} @ {room.wheel(each)}" for each in packages() if each.name in said and each != package]
    if siblings:
        room.install(package, *siblings, extras=package.extras, versions=versions)
    call(room.python, "-I", "-c", RUN_EXAMPLES, str(readme))


def main() -> None:
    every = {package.name: package for package in packages()}
    parser = argparse.ArgumentParser(prog="./dev alone", description="Show that a package stands alone.")
    parser.add_argument("package", nargs="?", choices=sorted(every))
    parser.add_argument("--lowest", action="store_true", help="at the lowest versions that it allows")
    options = parser.parse_args()
    name, lowest = cast("str | None", options.package), cast("bool", options.lowest)

    chosen = [every[name]] if name else list(every.values())
    both = name is None and not lowest
    with TemporaryDirectory(prefix="alone-") as folder:
        room = Room(Path(folder))
        call(UV, "build", "--quiet", "--no-sources", "--all-packages", "--wheel", "--out-dir", str(room.path / "dist"))
        for package in chosen:
            for versions in (NEWEST, LOWEST) if both else (LOWEST,) if lowest else (NEWEST,):
                try:
                    show(package, room, versions)
                except subprocess.CalledProcessError as error:
                    sys.exit(
                        f"{package.name} does not stand alone ({versions}): exit {error.returncode} of {error.cmd[:3]}"
                    )


if __name__ == "__main__":
    main()
