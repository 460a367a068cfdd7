"""
Statements for the connections of the application: their ids and moments are text on the way there and back.

An application may read and write ``uuid`` or ``timestamptz`` in its own way, as with ``set_type_codec`` of asyncpg.
Text, numbers and booleans stay as they are.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, cast
from uuid import UUID

from lq_postgres.connection.driver import Row
from lq_postgres.statements import fairness, reading, storing
from lq_postgres.statements.writing import COLUMNS, RECORD, TYPES, for_schema

_PARAMETER: Final = re.compile(r"(\$\d+)::(uuid|timestamptz)\b")
_IDS: Final = re.compile(r"array_agg\(((?:\w+\.)?id)\)")
# JSON has one form for a moment, whatever the settings of the session are.
_FORMS: Final = {"uuid": "r.{}::text", "timestamptz": "to_json(r.{}) #>> '{{}}'"}
_RECORD: Final = ", ".join(_FORMS.get(TYPES.get(column, ""), "r.{}").format(column) for column in COLUMNS)

_MOMENTS: Final = tuple(index for index, column in enumerate(COLUMNS) if TYPES.get(column) == "timestamptz")
_READ: Final[Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    reading.GET: ((0,), _MOMENTS),
    storing.HOLDERS: ((2,), tuple(2 + index for index in _MOMENTS)),
    fairness.TURNS: ((), (1, 2)),
}
"""The columns of ids and of moments, for the statements that have any beside lists of ids."""

_TURNS: Final = (
    """SELECT number, to_json(last) #>> '{{}}', to_json(turn) #>> '{{}}' FROM ({}) AS t(number, last, turn)"""
)


@cache
def in_text(sql: str, schema: str) -> str:
    """Write a statement for *schema*, in which ids and moments are text."""
    written = for_schema(sql, schema).replace(RECORD, _RECORD)
    sql = _TURNS.format(written) if sql is fairness.TURNS else written
    return _IDS.sub(r"array_agg(\1::text)", _PARAMETER.sub(_cast, sql))


def _cast(found: re.Match[str]) -> str:
    number, kind = found.groups()
    is_array = found.string[found.end() :].startswith("[]")
    return f"{number}::text[]::{kind}" if is_array else f"{number}::text::{kind}"


def parameter_in_text(value: object) -> object:
    """Write the ids and moments of a parameter as text; psycopg takes only a list for an array."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [parameter_in_text(each) for each in cast("Sequence[object]", value)]
    return value


def row_of_text(sql: str, row: Row) -> Row:
    """Read the ids and moments in the row of a statement; a list in it holds ids."""
    values: list[Any] = [_read_ids(cast("list[str]", one)) if isinstance(one, list) else one for one in row]
    ids, moments = _READ.get(sql, ((), ()))
    for index in ids:
        values[index] = UUID(values[index])
    for index in moments:
        if values[index] is not None:
            values[index] = datetime.fromisoformat(values[index]).astimezone(UTC)
    return values


def _read_ids(ids: list[str]) -> list[UUID]:
    return [UUID(each) for each in ids]
