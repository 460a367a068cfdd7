"""
How long ``import lq_core`` takes in a fresh process: ``./dev bench startup``.

It is measured with only lq-core installed, because msgspec also imports typing_extensions if that is installed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from figures import Figure, show

GOAL: Final = 60
ROUNDS: Final = 15
PACKAGE: Final = Path(__file__).parents[2] / "packages" / "lq-core"


def measure() -> list[Figure]:
    """Take the best of several fresh processes, in an empty environment and in this one."""
    with tempfile.TemporaryDirectory(prefix="lq-benchmark-") as room:
        alone = _best(_installed(Path(room)))
    return [
        Figure("import lq_core, installed alone", alone, "ms", GOAL),
        Figure("import lq_core, in the environment of the workspace", _best(Path(sys.executable)), "ms"),
        Figure("import asyncio, which is part of it", _best(Path(sys.executable), "asyncio"), "ms"),
    ]


def _installed(room: Path) -> Path:
    uv = shutil.which("uv")
    assert uv is not None, "./dev puts uv on the path"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, room], check=True)
    python = room / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, PACKAGE], check=True)
    return python


def _best(python: Path, module: str = "lq_core") -> float:
    return min(_milliseconds(python, module) for _ in range(ROUNDS))


def _milliseconds(python: Path, module: str) -> float:
    """Read the last line of ``-X importtime``: the time of the import with all that it imports."""
    # Isolated, because PYTHONDONTWRITEBYTECODE would make Python compile every module each time.
    command = [python, "-I", "-X", "importtime", "-c", f"import {module}"]
    report = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True).stderr
    return int(report.splitlines()[-1].split("|")[1]) / 1000


if __name__ == "__main__":
    show(measure())
