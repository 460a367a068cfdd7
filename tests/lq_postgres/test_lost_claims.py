"""A claim whose answer was lost is answered later, and only to who can run what it took."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from lq_core import StorageError
from lq_core.queue import Claim
from lq_core.record import QueuedTaskRecord, TaskStatus
from lq_core.testing import a_record
from lq_postgres import lost_claims
from lq_postgres.lost_claims import LostClaims

TO_RUN = Claim(worker_id="ada", limit=1, execution_backends=("local",))
TO_DISPATCH = Claim(worker_id="ada", limit=1, execution_backends=("cloudrun",), to=TaskStatus.DISPATCHED)


async def test_who_dispatches_is_not_given_what_was_to_run_here() -> None:
    record = a_record()
    claims = LostClaims(one_record(record))
    claims.lose(TO_RUN, claims.next_number())

    assert await claims.found(TO_DISPATCH) == ()
    assert await claims.found(TO_RUN) == (record,)


async def test_what_was_found_is_found_again_until_it_has_been_handed_over() -> None:
    record = a_record()
    claims = LostClaims(one_record(record))
    claims.lose(TO_RUN, claims.next_number())

    assert await claims.found(TO_RUN) == (record,)
    assert await claims.found(TO_RUN) == (record,)
    claims.handed_over()
    assert await claims.found(TO_RUN) == ()


async def test_a_claim_of_somebody_else_hands_over_nothing() -> None:
    record = a_record()
    claims = LostClaims(one_record(record))
    claims.lose(TO_RUN, claims.next_number())
    assert await claims.found(TO_RUN) == (record,)  # Which then fails.

    assert await claims.found(TO_DISPATCH) == ()
    claims.handed_over()

    assert await claims.found(TO_RUN) == (record,)


async def test_a_claim_that_cannot_be_looked_for_is_given_up_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = LostClaims(nothing_but_trouble)
    claims.lose(TO_RUN, claims.next_number())
    with pytest.raises(StorageError):
        _ = await claims.found(TO_RUN)
    monkeypatch.setattr(lost_claims, "LAST_LOOK", 0.0)
    with pytest.raises(StorageError):
        _ = await claims.found(TO_RUN)

    assert await claims.found(TO_RUN) == ()


async def nothing_but_trouble(_worker_id: str, _number: int) -> Sequence[QueuedTaskRecord]:
    raise StorageError("The table takes too long to read.")


def one_record(record: QueuedTaskRecord) -> Callable[[str, int], Awaitable[Sequence[QueuedTaskRecord]]]:
    async def read(_worker_id: str, _number: int) -> Sequence[QueuedTaskRecord]:
        return [record]

    return read
