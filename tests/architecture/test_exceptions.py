"""An exception to a rule gives its reason, on its line."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tree import ROOT, files, place

EXCEPTION = re.compile(r"#\s*(ruff:\s*)?(noqa|type:\s*ignore|pyright:|fmt:|pragma:)")
WITH_REASON = re.compile(r"#\s*(noqa:\s*[A-Z]+\d+|pyright:\s*ignore\[\w+|fmt:\s*\w+|pragma:\s*no cover).* -- \S+ \S+")
SKIPS = {"skip", "skipif", "xfail", "importorskip"}


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with tokenize.open(path) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def waits(path: Path) -> Iterator[int]:
    """The lines that sleep for a time; a sleep of 0 only lets others run."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep"), args=[ast.Constant(value=0)]):
                pass
            case ast.Call(func=ast.Attribute(attr="sleep") | ast.Name(id="sleep")):
                yield node.lineno
            case _:
                pass


def test_every_silenced_check_gives_its_rule_and_its_reason() -> None:
    silent = [
        place(path, line)
        for path in files(".py")
        for line, text in comments(path)
        if EXCEPTION.search(text) and not WITH_REASON.search(text)
    ]

    assert silent == [], "write `# noqa: RULE -- reason` or `# pyright: ignore[rule] -- reason`"


def test_no_test_waits_by_sleeping_without_a_reason() -> None:
    tests = [
        path
        for path in files(".py")
        if path.is_relative_to(ROOT / "tests") or {"contracts", "testing"} & set(path.parts)
    ]
    asleep = [
        place(path, line)
        for path in tests
        for line in waits(path)
        if line not in {number for number, _ in comments(path)}
    ]

    assert asleep == [], "wait for an event, or say in a comment on the line why this sleep is no waiting"


def test_no_test_is_skipped() -> None:
    skipped = [
        place(path, node.lineno)
        for path in files(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in SKIPS and ast.unparse(node).startswith("pytest.")
    ]

    assert skipped == [], "a test that is not run proves nothing: make its ground, or take it out"


def test_no_test_imports_a_mock() -> None:
    mocked = [
        place(path, node.lineno)
        for path in files(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and "mock" in ast.unparse(node)
    ]

    assert mocked == [], "use the real part, or a small object that records"
