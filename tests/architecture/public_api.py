"""
What a package promises: the names and signatures behind its front door and its documented modules, one a line.

A release keeps these lines in ``packages/lq-x/api.txt``, and the next release compares its own with them.
They are read from the source without running it, so they are the same on every version of Python.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tree import Package, packages

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The names that a user of the last release would miss, find changed, or find new."""

    removed: Sequence[str]
    changed: Sequence[tuple[str, str]]
    """Pairs of lines: before and after."""

    added: Sequence[str]


def compare(before: Iterable[str], after: Iterable[str]) -> Difference:
    """Compare two lists of :func:`surface`; a line belongs to the name with which it begins."""
    old, new = by_name(before), by_name(after)
    return Difference(
        removed=[name for name in old if name not in new],
        changed=[(old[name], new[name]) for name in old if new.get(name, old[name]) != old[name]],
        added=[name for name in new if name not in old],
    )


def by_name(lines: Iterable[str]) -> Mapping[str, str]:
    """The lines of each name, overloads joined."""
    found = dict[str, str]()
    for line in lines:
        [name] = re.findall(r"^[\w.]+", line)
        found[name] = f"{found[name]}; {line}" if name in found else line
    return found


def surface(package: Package) -> Sequence[str]:
    """Every public name of *package* with its signature, in the order of the names."""
    reference = package.folder.parent.parent / "docs/reference.md"
    documented = re.findall(r"automodule:: (\S+)", reference.read_text())
    doors = sorted({package.module, *(each for each in documented if each.split(".")[0] == package.module)})
    lines = [line for door in doors for name in read(door).listed for line in describe(door, door, name)]
    assert lines, f"{package.name} has no public name"
    return sorted(lines)


@dataclass(frozen=True)
class Module:
    """The names that the source of one module defines and imports."""

    name: str
    body: Sequence[ast.stmt]

    @property
    def listed(self) -> Sequence[str]:
        """What ``__all__`` lists; in a module without it, whatever it defines without an underscore."""
        for node in self.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return ast.literal_eval(node.value)
        return sorted({name for node in self.body if (name := defined(node)) and not name.startswith("_")})

    def definitions(self, name: str) -> Sequence[ast.stmt]:
        return [node for node in self.body if defined(node) == name]

    def origin(self, name: str) -> tuple[str, str] | None:
        """The module of ours from which *name* is imported, and its name there."""
        for node in self.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("lq_"):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        return node.module, alias.name
        return None


@cache
def read(name: str) -> Module:
    return Module(name, ast.parse(place_of(name).read_text()).body)


def place_of(module: str) -> Path:
    first, *rest = module.split(".")
    [package] = [each for each in packages() if each.module == first]
    folder = package.source.joinpath(*rest)
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def defined(node: ast.stmt) -> str | None:
    """The name that a statement defines, if any."""
    if isinstance(node, Function | ast.ClassDef):
        return node.name
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return None


def describe(door: str, module: str, name: str) -> Iterator[str]:
    """The lines of one name of *module*, as it is imported from *door*."""
    source = read(module)
    found = source.definitions(name)
    if not found and (origin := source.origin(name)):
        for line in describe(door, *origin):
            yield line.replace(f"{door}.{origin[1]}", f"{door}.{name}", 1)
    for node in found:
        if isinstance(node, ast.ClassDef):
            yield f"{door}.{name}({', '.join(map(ast.unparse, node.bases))})"
            for member, line in members(source, node).items():
                yield line.replace(member, f"{door}.{name}.{member}", 1)
        else:
            yield line_of(node).replace(name, f"{door}.{name}", 1)


def members(source: Module, node: ast.ClassDef) -> Mapping[str, str]:
    """The public members of a class and of those classes of ours that it stands on, the nearest first."""
    own = dict[str, list[str]]()
    for each in node.body:
        if (name := defined(each)) and (not name.startswith("_") or name in {"__init__", "__call__"}):
            own.setdefault(name, []).append(line_of(each))
    found = {name: "; ".join(lines) for name, lines in own.items()}
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        for where, parent in classes(source, name):
            found = {**members(where, parent), **found}
    return found


def classes(source: Module, name: str) -> Iterator[tuple[Module, ast.ClassDef]]:
    """The class that is called *name* in a module, if it is ours."""
    yield from ((source, node) for node in source.definitions(name) if isinstance(node, ast.ClassDef))
    if origin := source.origin(name):
        yield from classes(read(origin[0]), origin[1])


def line_of(node: ast.stmt) -> str:
    """One statement as one line: a signature, or a name with its annotation and value."""
    if not isinstance(node, Function):
        return " ".join(ast.unparse(node).split())
    marks = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if marks & {"property", "cached_property"}:
        return f"{node.name}:{answer.removeprefix(' ->')}"
    ends = " [async]" if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"{node.name}({ast.unparse(node.args)}){answer}{ends}"
