"""One noun, one file: how the modules of the house are named and laid out."""

import ast
import re
from pathlib import Path

import pytest

from tree import ROOT, files, place, sources

LONGEST = 400
NO_NOUNS = {"base", "common", "helper", "helpers", "manager", "misc", "types", "util", "utils"}
CONTRACTS = {
    ROOT / "packages/lq-core/src/lq_core/queue/base.py",
    ROOT / "packages/lq-core/src/lq_core/execution/base.py",
}
FRONT_DOORS = [path for path in sources() if path.name == "__init__.py"]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def exported(door: ast.Module) -> list[str]:
    """What ``__all__`` lists."""
    for node in door.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names) | ast.Tuple(elts=names)):
                return [str(ast.literal_eval(name)) for name in names]
            case _:
                pass
    return []


def imported(door: ast.Module) -> list[str]:
    return [
        alias.asname or alias.name
        for node in door.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]


def is_front_door_statement(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
        case _:
            return False


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    long = [place(path) for path in files(".py") if len(path.read_text().splitlines()) > LONGEST]

    assert long == [], f"more than {LONGEST} lines are two nouns"


def test_every_module_is_named_for_what_it_is() -> None:
    nameless = [place(path) for path in sources() if path not in CONTRACTS and NO_NOUNS & {path.stem, path.parent.name}]

    assert nameless == [], "name the noun that is in it"


def test_every_module_begins_with_its_promise() -> None:
    silent = [place(path) for path in files(".py") if not ast.get_docstring(parsed(path))]

    assert silent == [], "begin with a docstring"


def test_annotations_are_real_at_run_time() -> None:
    unreal = [
        place(path, node.lineno)
        for path in files(".py")
        for node in ast.walk(parsed(path))
        if (isinstance(node, ast.ImportFrom) and node.module == "__future__")
        or (isinstance(node, ast.alias | ast.Name | ast.Attribute) and ast.unparse(node).endswith("TYPE_CHECKING"))
    ]

    assert unreal == [], "msgspec and Litestar read annotations while running"


def test_every_log_of_the_house_tells_its_facts() -> None:
    bare = [
        place(path) for path in sources() if re.search(r'^log = .*getLogger\("lq[".]', path.read_text(), re.MULTILINE)
    ]

    assert bare == [], "log = event_log()"


@pytest.mark.parametrize("path", FRONT_DOORS, ids=place)
def test_nothing_happens_in_a_front_door(path: Path) -> None:
    more = [place(path, node.lineno) for node in parsed(path).body if not is_front_door_statement(node)]

    assert more == [], "a docstring, imports and __all__; nothing else"


@pytest.mark.parametrize("path", FRONT_DOORS, ids=place)
def test_a_front_door_exports_what_it_imports(path: Path) -> None:
    door = parsed(path)

    assert sorted(exported(door)) == sorted(imported(door))
