"""How PostgreSQL runs a statement."""

from collections.abc import Iterator
from typing import Any

from msgspec import json

from lq_postgres import PostgresQueueBackend
from lq_postgres.statements.writing import for_schema


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a plan."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


async def most_rows(backend: PostgresQueueBackend, sql: str, *parameters: object) -> float:
    """Run a statement, and tell how many rows its widest step has brought or passed over."""
    async with backend.connections.lent() as connection:
        explained = f"EXPLAIN (ANALYZE, FORMAT JSON) {for_schema(sql, 'lq')}"
        [row] = await connection.fetch(explained, *parameters)
    [plan] = json.decode(row[0], type=list[dict[str, Any]])
    return max(
        (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        for step in nodes(plan["Plan"])
    )
