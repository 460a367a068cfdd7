"""The checklist in tests/README.md names tests that exist, and leaves no item without one."""

import ast
import re

from tree import ROOT, files

ITEM = re.compile(r"^- (.+)$", flags=re.MULTILINE)
NAMED = re.compile(r"`(test_\w+)`")
WITHOUT = re.compile(r": (open|not here): \S+")
CHECKLIST = (ROOT / "tests/README.md").read_text()


def test_every_test_of_the_checklist_exists() -> None:
    there = {
        node.name
        for path in files(".py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    missing = sorted(set(NAMED.findall(CHECKLIST)) - there)

    assert missing == []


def test_every_item_of_the_checklist_is_noticed_by_a_test() -> None:
    items: list[str] = ITEM.findall(CHECKLIST)
    unnoticed = [item for item in items if not NAMED.search(item) and not WITHOUT.search(item)]

    assert len(items) > 50
    assert unnoticed == [], "name a test, or say `open: feature` or `not here: reason`"
