"""Programs that are in no Python package: where they are, and how Debian's are installed."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDERS: Final = (os.environ.get("PATH", os.defpath), "/usr/sbin")


@dataclass(frozen=True)
class SystemProgram:
    """A program of the system, by the names that it has, and Debian's package of it."""

    package: str
    names: tuple[str, ...]

    def find(self) -> Path:
        """
        Find the program.

        Raises:
            LookupError: It is not installed; the message says how to install it.
        """
        path = os.pathsep.join(FOLDERS)
        found = next((found for name in self.names if (found := shutil.which(name, path=path))), None)
        if found is None:
            raise LookupError(
                f"{self.names[0]} is not on this machine. Install it with: sudo apt-get install {self.package}"
            )
        return Path(found)

    def install(self) -> None:
        """
        Install Debian's package if the program is missing.

        Raises:
            LookupError: It is missing, and could not be installed by apt-get as root.
        """
        try:
            _ = self.find()
        except LookupError:
            apt = shutil.which("apt-get")
            if apt is None or os.geteuid() != 0:
                raise
            for step in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", self.package]):
                _ = subprocess.run(
                    [apt, *step],
                    check=False,  # The next line checks the result.
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                )
            _ = self.find()


PGBOUNCER: Final = SystemProgram("pgbouncer", ("pgbouncer",))
CHROMIUM: Final = SystemProgram("chromium", ("chromium", "chromium-browser", "google-chrome"))
EVERY: Final = (PGBOUNCER, CHROMIUM)
