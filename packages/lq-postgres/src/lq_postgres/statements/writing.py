"""Statements as they are sent: the parts that several have in common filled in, and the schema that was chosen."""

import re
from functools import cache
from typing import Final

from lq_postgres.rows import COLUMNS
from lq_postgres.statements import claiming, reading

_SCHEMA: Final = re.compile(r"\blq\.(?=\w)|(?<=CREATE SCHEMA )lq\b|(?<=to_regnamespace\(')lq\b")


_PARTS: Final = {
    "{settled}": claiming.SETTLED,
    "{completed}": claiming.COMPLETED,
    "{lost}": claiming.LOST,
    "{limited}": claiming.LIMITED,
    "{matches}": reading.MATCHES,
    "{record}": ", ".join(f"r.{column}" for column in COLUMNS),
}


@cache
def for_schema(sql: str, schema: str) -> str:
    """Write a statement out: the parts that several have in common, and *schema* in place of ``lq``."""
    for name, part in _PARTS.items():
        sql = sql.replace(name, part)
    return _SCHEMA.sub(lambda found: found[0].replace("lq", f'"{schema}"'), sql)
