"""Users of mypy see the types and the errors that users of basedpyright see."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TYPED = [
    path for path in sorted(HERE.glob("test_*.py")) if re.search(r"^ +assert_type\(", path.read_text(), re.MULTILINE)
]
IGNORED = re.compile(r"# pyright: ignore\[(\w+)")
ERROR = re.compile(r"(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)

CODES = {
    "reportArgumentType": "arg-type",
    "reportAttributeAccessIssue": "attr-defined",
    "reportCallIssue": "call-arg",
    "reportGeneralTypeIssues": "misc",
}
"""The rules of basedpyright, and what mypy calls them."""


def test_mypy_finds_each_error_that_basedpyright_finds(tmp_path: Path) -> None:
    lines = [(path.name, *each) for path in TYPED for each in enumerate(path.read_text().splitlines(), 1)]
    wrong = {(name, number): CODES[found[1]] for name, number, line in lines if (found := IGNORED.search(line))}
    joined = {(name, number): "assert-type" for name, number, line in lines if "# In mypy, no union" in line}

    command = (sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}", *map(str, TYPED))
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout

    assert {(name, int(number)): code for name, number, code in ERROR.findall(said)} == wrong | joined, said
    assert {*wrong.values(), *joined.values()} == {*CODES.values(), "assert-type"}
