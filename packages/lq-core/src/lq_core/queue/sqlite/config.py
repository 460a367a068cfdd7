"""What an application says about its SQLite file."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lq_core.errors import ConfigurationError

PATH_VARIABLE = "LQ_SQLITE_PATH"
"""The environment variable that says where the file is when the application does not."""


def _default_path() -> Path:
    return Path(os.environ.get(PATH_VARIABLE) or "lq.db")


@dataclass(frozen=True, kw_only=True)
class SQLiteConfig:
    """
    Where the file is, and how careful every commit is.

    Raises ConfigurationError when a value cannot work; the message names it.
    """

    path: Path | str = field(default_factory=_default_path)
    """The file; beside it SQLite keeps two more, with ``-wal`` and ``-shm`` after the name."""

    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """``FULL``: what was answered survives a power cut. ``NORMAL``: it survives the end of the process only."""

    auto_migrate: bool = True
    """Whether opening brings the schema up to date; if not, an old schema is refused."""

    def __post_init__(self) -> None:
        if self.synchronous not in {"FULL", "NORMAL"}:
            raise ConfigurationError(f'synchronous is {self.synchronous!r}; it must be "FULL" or "NORMAL".')
        if not isinstance(self.path, (str, Path)) or str(self.path) in {"", ":memory:"}:  # pyright: ignore[reportUnnecessaryIsInstance] -- users err
            raise ConfigurationError(
                f'path is {self.path!r}; it must be a file. For records in memory: queue_backend="memory".'
            )

    @property
    def queue_backend(self) -> str:
        """The short name of the backend that this configures."""
        return "sqlite"
