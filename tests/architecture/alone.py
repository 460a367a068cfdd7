"""
Shows that a package stands alone: its wheel, in an environment that holds nothing else.

In the shared environment an undeclared import passes every test, and so does a version floor that is too low.
Here each package is built, installed by itself, every module imported, its own tests run with warnings as errors, and
the examples of its README; once at the newest versions that it allows, and once at the lowest.
Two of these runs go on at a time, since many tests wait rather than compute; each has an environment of its own.
Run it by ``./dev alone``.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
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
AT_A_TIME: Final = 2
"""How many runs go on at once, each with servers and processes of its own."""

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


class FailedError(Exception):
    """A run has failed; the message says at which command."""


class Run(NamedTuple):
    """One package at one set of versions: a folder with an empty environment, and what its commands have printed."""

    package: Package
    versions: str
    wheels: Path
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.package.name} alone, {self.versions} versions"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def python(self) -> str:
        return str(self.folder / "venv/bin/python")

    def wheel(self, package: Package) -> str:
        [wheel] = self.wheels.glob(f"{package.module}-*.whl")
        return wheel.as_uri()

    def call(self, *command: str, **more: str) -> None:
        """Run a command at the root, with *more* in its environment; its failure is ours."""
        with self.log.open("ab") as log:
            ended = subprocess.run(
                command,
                cwd=ROOT,
                env={**ENVIRONMENT, **more},
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ended.returncode != 0:
            message = f"{self.name}: exit {ended.returncode} of {' '.join(command[:3])}"
            raise FailedError(message)

    def install(self, *more: str, extras: Sequence[str] = ()) -> None:
        """
        Install the wheel of the package, and its dependencies at the versions of this run.

        The project file is named beside the wheel: "lowest" goes for what is asked for directly, and without it the
        dependencies would be those of the wheel. Siblings come from our own wheels, whatever an index may have
        under their names.
        """
        package = self.package
        siblings = self.folder / "siblings.txt"
        siblings.write_text("".join(f"{each.name} @ {self.wheel(each)}\n" for each in packages()))
        asked = [word for extra in extras for word in ("--extra", extra)]
        self.call(
            *(UV, "pip", "install", "--quiet", "--no-sources", "--python", self.python, "--resolution", self.versions),
            *("--constraints", str(siblings), f"{package.name} @ {self.wheel(package)}"),
            *("--requirements", project_file(package), *asked, *more),
        )


def project_file(package: Package) -> str:
    return (package.folder / "pyproject.toml").relative_to(ROOT).as_posix()


def show(run: Run) -> None:
    """Install, import and test a package by itself."""
    package = run.package
    run.folder.mkdir()
    run.call(UV, "venv", "--quiet", "--no-project", "--python", sys.executable, str(run.folder / "venv"))
    run.install()
    run.call(run.python, "-I", "-W", "error", "-c", IMPORT_ALL, package.module, *package.extras)
    run.install("--group", f"{project_file(package)}:test", extras=package.extras)
    run.call(run.python, "-I", "-W", "error", "-c", IMPORT_ALL, package.module)
    run.call(run.python, "-I", "-W", "error", "-c", LOAD_ENTRIES, package.name)
    run.call(UV, "pip", "list", "--quiet", "--python", run.python, "--exclude", package.name)
    tests = package.tests.relative_to(ROOT).as_posix()
    # Both runs together use every version of PostgreSQL once.
    servers = {"LQ_TEST_POSTGRES": "between" if run.versions == LOWEST else "ends"}
    pytest = ("-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "--confcutdir=tests", "-q", tests)
    run.call(run.python, "-I", *pytest, **servers)
    show_examples(run)


def show_examples(run: Run) -> None:
    """Run what the README of the package shows with nothing but what it says to install."""
    package = run.package
    readme = package.folder / "README.md"
    [said, *_] = re.findall(r"^pip install .*", readme.read_text(), re.MULTILINE)
    siblings = [f"{each.name} @ {run.wheel(each)}" for each in packages() if each.name in said and each != package]
    if siblings:
        run.install(*siblings, extras=package.extras)
    run.call(run.python, "-I", "-c", RUN_EXAMPLES, str(readme))


def show_and_tell(run: Run) -> None:
    """Print everything that a run has printed in one piece, when it has ended."""
    began = time.monotonic()
    try:
        show(run)
    finally:
        log = run.log.read_text(errors="replace") if run.log.exists() else ""
        print(f"\n--- {run.name}, {time.monotonic() - began:.0f} seconds\n{log}", end="", flush=True)


def main() -> None:
    every = {package.name: package for package in packages()}
    parser = argparse.ArgumentParser(prog="./dev alone", description="Show that a package stands alone.")
    parser.add_argument("package", nargs="?", choices=sorted(every))
    parser.add_argument("--lowest", action="store_true", help="at the lowest versions that it allows")
    options = parser.parse_args()
    name, lowest = cast("str | None", options.package), cast("bool", options.lowest)

    chosen = [every[name]] if name else list(every.values())
    both = name is None and not lowest
    asked = (NEWEST, LOWEST) if both else (LOWEST,) if lowest else (NEWEST,)
    untested = [package.name for package in chosen if not package.tests.is_dir()]
    if untested:
        sys.exit(f"{', '.join(untested)}: there is no folder with tests of its own.")
    with TemporaryDirectory(prefix="alone-") as made:
        folder = Path(made)
        wheels = folder / "dist"
        build = (UV, "build", "--quiet", "--no-sources", "--all-packages", "--wheel", "--out-dir", str(wheels))
        subprocess.run(build, cwd=ROOT, env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL)
        # The longest first: those at the newest versions, and among them those with the most tests.
        runs = [
            Run(package, versions, wheels, folder / f"{package.name}-{versions}")
            for versions in asked
            for package in sorted(chosen, key=lambda each: -len(list(each.tests.rglob("*.py"))))
        ]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            results = [pool.submit(show_and_tell, run) for run in runs]
            _ = wait(results, return_when=FIRST_EXCEPTION)
            pool.shutdown(cancel_futures=True)
        failures = [str(error) for each in results if not each.cancelled() and (error := each.exception())]
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
