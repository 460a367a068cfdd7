"""Notices changes of the Python files in a folder, by polling."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

INTERVAL: Final = 0.5
"""Seconds between two looks."""


async def changed_files(folder: Path) -> AsyncGenerator[Path]:
    """Yield one of the files that were changed, added or deleted since the last look, each time that there is one."""
    before = await asyncio.to_thread(_stamps, folder)
    while True:
        await asyncio.sleep(INTERVAL)
        now = await asyncio.to_thread(_stamps, folder)
        changed = sorted(file for file, _ in before.items() ^ now.items())
        before = now
        if changed:
            yield changed[0].relative_to(folder)


def _stamps(folder: Path) -> Mapping[Path, int]:
    """Read when each Python file was changed, outside of hidden folders and virtual environments."""
    stamps: dict[Path, int] = {}
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = [
            name for name in folders if not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
        ]
        for file in (here / name for name in files if name.endswith(".py")):
            with suppress(OSError):  # It was deleted meanwhile.
                stamps[file] = file.stat().st_mtime_ns
    return stamps
