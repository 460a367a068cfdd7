"""How PostgreSQL runs a statement, with the plan that lq's sessions use: the same for all parameters."""

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
    return max(
        (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        for step in nodes(await plan_of(backend, sql, *parameters))
    )


async def pages(backend: PostgresQueueBackend, sql: str, *parameters: object) -> int:
    """Run a statement, and tell how many pages of the table and its indexes it has looked at."""
    plan = await plan_of(backend, sql, *parameters)
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def plan_of(backend: PostgresQueueBackend, sql: str, *parameters: object) -> dict[str, Any]:
    """Run a statement, and return its plan and what that has done."""
    given = f"({', '.join(map(literal, parameters))})" if parameters else ""
    async with backend.connections.lent() as connection:
        await connection.execute(f"PREPARE explained AS {for_schema(sql, 'lq')}")
        try:
            [row] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE explained{given}")
        finally:
            await connection.execute("DEALLOCATE explained")
    [explained] = json.decode(row[0], type=list[dict[str, Any]])
    return explained["Plan"]


def literal(value: object) -> str:
    """Write a parameter as SQL; no text of the tests has an apostrophe."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        elements = [json.encode(str(one)).decode() for one in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- of whatever it has
        return f"'{{{', '.join(elements)}}}'"
    return str(value) if isinstance(value, (bool, int, float)) else f"'{value}'"
