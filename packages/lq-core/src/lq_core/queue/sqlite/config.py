"""The settings of the SQLite queue backend."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from lq_core.foundation.validation import check, refuse_unknown_fields, wrong

PATH_VARIABLE = "LQ_SQLITE_PATH"
"""The environment variable with the path of the file, if the application sets none."""


def _default_path() -> Path:
    return Path(os.environ.get(PATH_VARIABLE) or "lq.db")


@refuse_unknown_fields
@dataclass(frozen=True, kw_only=True)
class SQLiteConfig:
    """
    Where the file is, and how durable each commit is.

    Raises ConfigurationError for an invalid value.
    """

    path: Annotated[Path | str, Meta(description='a file; for records in memory: queue_backend="memory"')] = field(
        default_factory=_default_path
    )
    """The file. SQLite adds two more, whose names end in ``-wal`` and ``-shm``."""

    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """``FULL``: a commit survives a power cut. ``NORMAL``: it survives only the end of the process."""

    auto_migrate: bool = True
    """Whether opening brings the schema up to date; otherwise it refuses an old schema."""

    def __post_init__(self) -> None:
        check(self)
        if str(self.path) in {"", ":memory:"}:
            raise wrong(SQLiteConfig, "path", self.path)

    @property
    def queue_backend(self) -> str:
        """The short name of this backend."""
        return "sqlite"
