"""A disk of a few megabytes, for a tablespace that becomes full; to mount one, the tests must run as root."""

import os
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from servers.child_process import give_away

MEGABYTES: Final = 24


class SmallDisk:
    """A file system in memory; use it as a context manager."""

    def __init__(self) -> None:
        self.directory: Final = Path(tempfile.mkdtemp(prefix="lq-small-disk-"))
        self.directory.chmod(0o755)

    def __enter__(self) -> Self:
        try:
            _run("mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=755", "tmpfs", str(self.directory))
        except BaseException:
            self.directory.rmdir()
            raise
        self.space = self.directory / "space"
        self.space.mkdir()
        give_away(self.space)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _run("umount", "--lazy", str(self.directory))
        self.directory.rmdir()

    def fill(self) -> None:
        """Leave no space."""
        with suppress(OSError), (self.directory / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass

    def make_room(self) -> None:
        """Free the space again."""
        (self.directory / "ballast").unlink()


@cache
def may_mount() -> bool:
    """Return whether this process may mount a file system."""
    if os.geteuid() != 0:
        return False
    try:
        with SmallDisk():
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
