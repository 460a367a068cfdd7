"""The tasks of the office."""

from lq_core import task


@task(execution_backend="cloudrun", timeout=600, retries=2)
async def make_report(month: str, *, pages: int = 1) -> str:
    """Stand in for a task that takes an hour."""
    print(f"Making {pages} pages for {month}")
    return f"{month}: {pages} pages"
