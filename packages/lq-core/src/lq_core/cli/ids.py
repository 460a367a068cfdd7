"""Ids of records as a person types them: whole, or the beginning that no other record has."""

import re
from typing import Final
from uuid import UUID

import click

from lq_core.cli.filters import EVERYTHING
from lq_core.foundation.errors import QueueError, RecordNotFoundError
from lq_core.records.record import QueuedTaskRecord
from lq_core.service import QueueService

DIGITS: Final = 32
MOST: Final = 10
"""The most records that are listed if an id is ambiguous."""


def record_id(text: str) -> str:
    """Read the digits of an id, or of its beginning; the type of an argument that names a record."""
    digits = text.strip("{}").replace("-", "").lower()
    if not re.fullmatch(f"[0-9a-f]{{1,{DIGITS}}}", digits):
        raise click.BadParameter(
            f"{text!r} is not the id of a record. An id has up to {DIGITS} digits from 0 to f; its beginning is enough."
        )
    return digits


async def find_record(service: QueueService, digits: str) -> QueuedTaskRecord:
    """Find the record whose id begins with *digits*. Raises QueueError if there is none, or more than one."""
    first, last = int(digits.ljust(DIGITS, "0"), 16), int(digits.ljust(DIGITS, "f"), 16)
    after = UUID(int=max(first - 1, 0))
    page = await service.queue_backend.find(EVERYTHING, limit=MOST + 1, after=after)
    found = [record for record in page if record.id.int <= last]
    if len(found) == 1:
        return found[0]
    if not found and len(digits) == DIGITS:
        raise RecordNotFoundError(UUID(digits))
    if not found:
        raise QueueError(f"There is no record whose id begins with {digits}.")
    listed = "".join(f"\n  {record.id}  {record.status}  {record.task_name}" for record in found[:MOST])
    more = "\n  and more" if len(found) > MOST else ""
    raise QueueError(f"Several ids begin with {digits}; type more of the one that you mean:{listed}{more}")


async def find_id(service: QueueService, digits: str) -> UUID:
    """Find the id that begins with *digits*; a whole one need not exist. Raises as :func:`find_record` does."""
    return UUID(digits) if len(digits) == DIGITS else (await find_record(service, digits)).id
