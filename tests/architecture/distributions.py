"""The wheel and the source distribution of a package: how they are built, and what they may contain."""

import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Final

from tree import ROOT, Package, files, table

UV: Final = os.environ.get("UV", "uv")
DATA: Final = {".sql": "migrations", ".html": "templates", ".css": "static", ".js": "static"}
"""What a package may contain beside Python, and the folder that it stands in."""

LINK: Final = re.compile(r"\]\((?!https?:|#)([^)\s#]+)((?:#[^)\s]*)?)\)")


def build(package: Package, into: Path, *, address: str | None = None, at: str = "HEAD") -> Sequence[Path]:
    """
    Build the wheel and the source distribution of *package* from the files that git keeps.

    An index shows the README without the repository around it, so its links lead to *address* at the tag *at*.
    """
    with TemporaryDirectory(prefix="build-") as made:
        folder = Path(made, package.name)
        for path in kept(package):
            target = folder / path.relative_to(package.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(path, target)
        if address:
            readme, project = folder / "README.md", folder / "pyproject.toml"
            readme.write_text(with_address(readme.read_text(), package, address, at))
            project.write_text(f"{project.read_text()}\n{urls(package, address)}")
        command = (UV, "build", "--quiet", "--no-sources", "--out-dir", str(into), str(folder))
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return sorted(path for path in into.iterdir() if path.name.startswith(f"{package.module}-"))


def kept(package: Package) -> Sequence[Path]:
    """What goes into a source distribution, as far as the repository keeps it."""
    papers = {"README.md", "LICENSE", "pyproject.toml"}
    inside = [path for path in files() if path.is_relative_to(package.folder)]
    return [path for path in inside if path.name in papers or path.is_relative_to(package.source)]


def with_address(readme: str, package: Package, address: str, at: str) -> str:
    def absolute(link: re.Match[str]) -> str:
        target = (package.folder / link[1]).resolve()
        kind = "tree" if target.is_dir() else "blob"
        return f"]({address}/{kind}/{at}/{target.relative_to(ROOT).as_posix()}{link[2]})"

    return LINK.sub(absolute, readme)


def urls(package: Package, address: str) -> str:
    lines = {
        "Documentation": f"{address}/blob/main/docs/index.md",
        "Source": address,
        "Issues": f"{address}/issues",
        "Changelog": f"{address}/blob/main/packages/{package.name}/CHANGELOG.md",
    }
    return "[project.urls]\n" + "".join(f'{name} = "{line}"\n' for name, line in lines.items())


def faults(package: Package, built: Sequence[Path]) -> Sequence[str]:
    """What is missing in the distributions of *package*, and what should not be there."""
    version = package.project["version"]
    stem = f"{package.module}-{version}"
    expected = {f"{stem}-py3-none-any.whl": wheel_files(package, stem), f"{stem}.tar.gz": source_files(package, stem)}
    found = {path.name: contents(path) for path in built}
    wrong = [f"{name} was not built" for name in expected if name not in found]
    wrong += [f"{name} was built besides" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        wrong += [f"{name} lacks {each}" for each in sorted(expected[name] - found[name])]
        wrong += [f"{name} contains {each}" for each in sorted(found[name] - expected[name])]
        wrong += [f"{name}: {each} has no place in a package" for each in sorted(found[name]) if is_foreign(each)]
    return wrong


def wheel_files(package: Package, stem: str) -> set[str]:
    modules = {path.relative_to(package.source.parent).as_posix() for path in kept(package) if "src" in path.parts}
    papers = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    if table(package.project, "scripts") or table(package.project, "entry-points"):
        papers.add("entry_points.txt")
    return modules | {f"{package.module}/py.typed"} | {f"{stem}.dist-info/{name}" for name in papers}


def source_files(package: Package, stem: str) -> set[str]:
    sources = {path.relative_to(package.folder).as_posix() for path in kept(package)}
    return {f"{stem}/{name}" for name in {*sources, "PKG-INFO", "pyproject.toml", "LICENSE", "README.md"}}


def contents(distribution: Path) -> set[str]:
    """The files of a distribution. uv_build keeps a copy of the project file in newer versions: it is left out."""
    if distribution.suffix == ".whl":
        with zipfile.ZipFile(distribution) as wheel:
            return {each.filename for each in wheel.infolist() if not each.is_dir()}
    with tarfile.open(distribution) as archive:
        names = {each.name for each in archive.getmembers() if each.isfile()}
    return {name for name in names if not name.endswith("/pyproject.toml.orig")}


def is_foreign(name: str) -> bool:
    """Whether a file is neither a module, nor data in its folder, nor one of the papers."""
    path = PurePosixPath(name)
    if path.suffix in DATA:
        return path.parent.name != DATA[path.suffix]
    is_test = path.name.startswith(("test_", "conftest."))
    papers = {"METADATA", "RECORD", "WHEEL", "LICENSE", "PKG-INFO", "entry_points.txt", "py.typed"}
    return is_test or (path.suffix not in {".py", ".md", ".toml"} and path.name not in papers)
