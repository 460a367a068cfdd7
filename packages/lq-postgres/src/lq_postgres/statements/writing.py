"""Statements as they are sent: with their common parts filled in, for the schema that was chosen."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Final

from lq_postgres.statements import claiming, fairness, limiting, reading, storing

COLUMNS: Final = (
    *("id", "arguments", "created_at", "scheduled_at"),
    *("task_name", "queue", "priority", "execution_backend", "execution_profile", "key"),
    *("key_released", "retries", "backoff", "timeout", "expires_at", "schedule", "metadata"),
    *("status", "epoch", "attempt", "retry_count", "losses", "worker_id", "execution_ref", "log_url"),
    *("cancel_requested", "started_at", "finished_at", "progress", "result", "error", "history"),
    *("retry_rules", "key_scope", "key_until", "concurrency_key", "limits", "after", "blocked"),
)
"""The columns of a record, in the order of every row that is read."""

_REPLACED: Final = (
    *("status", "epoch", "attempt", "retry_count", "losses", "worker_id", "execution_backend", "execution_profile"),
    *("execution_ref", "log_url", "scheduled_at", "expires_at", "started_at", "finished_at", "progress", "result"),
    *("error", "history", "blocked"),
)
SWAPPED: Final = (*_REPLACED, "key_released")
"""The columns that a swap writes."""

AMENDED: Final = ("epoch", "arguments", "priority", "metadata", "scheduled_at", "expires_at", "key_released")
"""The columns that an amendment writes, and the one that it compares beside the epoch."""

TYPES: Final = {
    "id": "uuid",
    "timeout": "double precision",
    **dict.fromkeys(("expected", "epoch", "priority"), "bigint"),
    **dict.fromkeys(("attempt", "retries", "retry_count", "losses"), "integer"),
    **dict.fromkeys(("blocked", "cancel_requested", "key_released"), "boolean"),
    **dict.fromkeys(("created_at", "scheduled_at", "started_at", "finished_at"), "timestamptz"),
    **dict.fromkeys(("expires_at", "key_until"), "timestamptz"),
}
"""The types of the columns that are not text."""


def _given(names: Sequence[str], *, first: int = 1) -> str:
    """Name the array parameters from number *first* on, one for each column, as the rows ``s``."""
    arrays = ", ".join(f"${number}::{TYPES.get(name, 'text')}[]" for number, name in enumerate(names, first))
    return f"unnest({arrays}) AS s({', '.join(names)})"


RECORD: Final = ", ".join(f"r.{column}" for column in COLUMNS)
"""The columns of a record that is read."""

_PARTS: Final = {
    "{settled}": claiming.SETTLED,
    "{completed}": claiming.COMPLETED,
    "{lost}": claiming.LOST,
    "{matches}": reading.MATCHES,
    "{startable}": limiting.STARTABLE.replace("{startable}", limiting.IF_STARTABLE),
    "{indexed_status}": storing.INDEXED_STATUS,
    "{has_fairness_key}": fairness.HAS_FAIRNESS_KEY,
    "{fairness_key}": fairness.FAIRNESS_KEY,
    "{record}": RECORD,
    "{columns}": ", ".join(COLUMNS),
    "{replaced}": ", ".join(f"{column} = s.{column}" for column in _REPLACED),
    "{given records}": _given(COLUMNS),
    "{given swaps}": _given(("id", "expected", *SWAPPED), first=11),
    "{given amendments}": _given(("id", "expected", *AMENDED)),
}
"""The common parts; a part may contain those that follow it."""

_SCHEMA: Final = re.compile(r"\blq\.(?=\w)|(?<=CREATE SCHEMA )lq\b|(?<=to_regnamespace\(')lq\b")


@cache
def for_schema(sql: str, schema: str) -> str:
    """Fill in the common parts, and replace the schema ``lq`` by *schema*."""
    for name, part in _PARTS.items():
        sql = sql.replace(name, part)
    return _SCHEMA.sub(lambda found: found[0].replace("lq", f'"{schema}"'), sql)
