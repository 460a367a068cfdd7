"""The contract of queue backends for limits: never more than allowed, and no delay for other records."""

import asyncio
from datetime import timedelta

from lq_core.contracts.records import a_claim, a_record, a_swap, a_worker, claimed
from lq_core.queue import BaseQueueBackend, QueueState
from lq_core.records import lifecycle
from lq_core.records.record import Limits, QueuedTaskRecord, RateLimit, TaskFailure, TaskStatus

ONE = Limits(concurrency=1)
TWO = Limits(concurrency=2)
HOURLY = Limits(rate=RateLimit(2, per=3600))


def of(key: str, limits: Limits = ONE, *, delay: float = 0.0, **changes: object) -> QueuedTaskRecord:
    """Make a record with a concurrency key."""
    return a_record(delay=delay, concurrency_key=key, limits=limits, **changes)


class LimitContract:
    """Concurrency, rates, and what drains."""

    async def test_a_concurrency_key_runs_so_many_at_once(self, queue: BaseQueueBackend) -> None:
        """Over all workers; the rest is held back, and the claim says so."""
        first = await claimed(queue, *[of("ann", TWO) for _ in range(5)])

        await queue.register(a_worker("bob"))
        answer = await queue.claim(a_claim("bob"))

        assert len(first) == 2
        assert (answer.records, answer.held_back) == ((), True)

    async def test_a_key_is_shared_by_queues_and_execution_backends(self, queue: BaseQueueBackend) -> None:
        """It is the key that counts."""
        records = [of("ann", queue="mail"), of("ann", queue="film"), of("ann", execution_backend="cloud")]

        taken = await claimed(queue, *records, execution_backends=("local", "cloud"))

        assert len(taken) == 1

    async def test_a_dispatched_record_counts(self, queue: BaseQueueBackend) -> None:
        """A dispatched record holds a slot, and keeps it when it starts."""
        (reserved,) = await claimed(queue, of("ann"), of("ann"), to=TaskStatus.DISPATCHED)
        await queue.claim_one(reserved.id, reserved.epoch, worker_id="container")

        assert (await queue.claim(a_claim())).records == ()

    async def test_a_record_started_by_its_id_counts(self, queue: BaseQueueBackend) -> None:
        """It is let through, and holds back the others of its queue and of its key."""
        by_queue, by_key = a_record(queue="film"), of("ann")
        await queue.change_queue("film", limits=ONE)
        await queue.insert([by_queue, by_key])
        await queue.claim_one(by_queue.id, 0, worker_id="by hand")
        await queue.claim_one(by_key.id, 0, worker_id="by hand")

        assert await claimed(queue, a_record(queue="film"), of("ann")) == []

    async def test_a_record_stored_as_running_counts(self, queue: BaseQueueBackend) -> None:
        """As what runs inline is; it holds back the others of its queue and of its key."""
        await queue.change_queue("film", limits=ONE)
        at = queue.now()
        begun = [lifecycle.claim(one, worker_id="inline", at=at) for one in (a_record(queue="film"), of("ann"))]
        await queue.insert(begun)

        assert await claimed(queue, a_record(queue="film"), of("ann")) == []

    async def test_the_next_record_starts_when_one_ends(self, queue: BaseQueueBackend) -> None:
        """Also in the same round trip."""
        (running,) = await claimed(queue, of("ann"), of("ann"), of("ann"))
        ended = lifecycle.complete(running, result="1", at=queue.now())

        kept, answer = await queue.settle_and_claim([a_swap(ended)], a_claim())

        assert (list(kept), len(answer.records)) == ([True], 1)

    async def test_a_record_that_returns_to_pending_releases_its_slot(self, queue: BaseQueueBackend) -> None:
        """A retry that waits releases its slot."""
        (running,) = await claimed(queue, of("ann", priority=1, retries=1))
        failure = TaskFailure(type="ValueError", message="no")
        await queue.swap([a_swap(lifecycle.retry_or_fail(running, failure=failure, delay=600, at=queue.now()))])
        other = of("ann")
        await queue.insert([other])

        assert [record.id for record in (await queue.claim(a_claim())).records] == [other.id]

    async def test_a_limited_key_does_not_delay_other_keys(self, queue: BaseQueueBackend) -> None:
        """However many of its records come first."""
        capped = [of("ann", priority=9) for _ in range(2000)]
        others = [a_record(), of("ben"), a_record(queue="mail")]
        await queue.register(a_worker())
        await queue.insert([*capped, *others])

        taken = (await queue.claim(a_claim(limit=4))).records

        assert taken[0].concurrency_key == "ann"
        assert {record.id for record in taken[1:]} == {record.id for record in others}

    async def test_the_order_of_claims_holds_among_many_keys(self, queue: BaseQueueBackend) -> None:
        """Behind a key whose records come first, and in the next claim as well."""
        capped = [of("ann", priority=9) for _ in range(600)]
        others = [of(f"tenant {number}") for number in range(300)]
        await queue.register(a_worker())
        await queue.insert([*capped, *others])

        first = (await queue.claim(a_claim(limit=4))).records
        second = (await queue.claim(a_claim(limit=4))).records

        assert [record.id for record in first] == [record.id for record in (capped[0], *others[:3])]
        assert [record.id for record in second] == [record.id for record in others[3:7]]

    async def test_the_order_of_claims_holds_with_limits_and_without(self, queue: BaseQueueBackend) -> None:
        """Priority counts, also among limited records."""
        plain = [a_record(priority=number) for number in (4, 2, 0)]
        limited = [of("ann", priority=3), of("ben", priority=1)]
        await queue.change_queue("mail", limits=ONE)
        mail = a_record(queue="mail", priority=5)

        taken = await claimed(queue, *plain, *limited, mail)

        assert [record.priority for record in taken] == [5, 4, 3, 2, 1, 0]

    async def test_a_queue_runs_so_many_at_once(self, queue: BaseQueueBackend) -> None:
        """The others are not concerned."""
        await queue.change_queue("mail", limits=TWO)

        taken = await claimed(queue, *[a_record(queue="mail") for _ in range(4)], a_record(queue="film"))

        assert sorted(record.queue for record in taken) == ["film", "mail", "mail"]

    async def test_running_records_count_against_a_new_limit(self, queue: BaseQueueBackend) -> None:
        """A limit that is set at run time holds from then on."""
        await claimed(queue, a_record(queue="mail"))
        await queue.change_queue("mail", limits=TWO)
        await queue.insert([a_record(queue="mail") for _ in range(3)])

        assert len((await queue.claim(a_claim())).records) == 1

    async def test_a_limit_that_is_lifted_holds_no_more(self, queue: BaseQueueBackend) -> None:
        """And what was started under it counts again when it comes back."""
        await queue.change_queue("mail", limits=ONE)
        await claimed(queue, *[a_record(queue="mail") for _ in range(3)])
        await queue.change_queue("mail", limits=None)
        assert len((await queue.claim(a_claim(limit=1))).records) == 1
        await queue.change_queue("mail", limits=TWO)

        assert (await queue.claim(a_claim())).records == ()

    async def test_a_rate_allows_a_burst_and_then_waits_for_tokens(self, queue: BaseQueueBackend) -> None:
        """The next one is due when the next token comes, and not before."""
        taken = await claimed(queue, *[of("ann", HOURLY) for _ in range(5)])
        answer = await queue.claim(a_claim())
        due = await queue.next_due(a_claim())

        assert (len(taken), answer.records) == (2, ())
        assert due is not None
        assert timedelta(minutes=29) < due - queue.now() <= timedelta(minutes=30)

    async def test_tokens_come_back_with_time(self, queue: BaseQueueBackend) -> None:
        """One after the other, as the rate says."""
        await queue.register(a_worker())
        await queue.change_queue("mail", limits=Limits(rate=RateLimit(20, per=1, burst=1)))
        await queue.insert([a_record(queue="mail") for _ in range(3)])
        started: list[QueuedTaskRecord] = []

        async with asyncio.timeout(30):
            while len(started) < 3:
                started += (await queue.claim(a_claim())).records
                due = await queue.next_due(a_claim()) or queue.now()
                await queue.wait_for_work(queue.changes, timeout=max(0.001, (due - queue.now()).total_seconds()))

        moments = [record.started_at for record in started if record.started_at is not None]
        assert moments[2] - moments[0] >= timedelta(seconds=0.1)

    async def test_the_end_of_a_record_returns_no_token(self, queue: BaseQueueBackend) -> None:
        """A rate counts starts, whatever their outcome."""
        await queue.change_queue("mail", limits=HOURLY)
        taken = await claimed(queue, *[a_record(queue="mail") for _ in range(3)])
        await queue.swap([a_swap(lifecycle.complete(record, result="1", at=queue.now())) for record in taken])

        assert (await queue.claim(a_claim())).records == ()

    async def test_a_record_over_the_concurrency_limit_is_not_due(self, queue: BaseQueueBackend) -> None:
        """Otherwise a worker would poll in a loop; a postponed record is due at its time."""
        later = of("ann", delay=600)
        await claimed(queue, of("ann"), of("ann"))
        assert await queue.next_due(a_claim()) is None

        await queue.insert([later])

        assert await queue.next_due(a_claim()) == later.scheduled_at

    async def test_the_end_of_a_limited_record_wakes_waiting_workers(self, queue: BaseQueueBackend) -> None:
        """The next one starts without waiting for the next look."""
        (running,) = await claimed(queue, of("ann"), of("ann"))
        assert (await queue.claim(a_claim())).held_back
        changes = queue.changes

        await queue.swap([a_swap(lifecycle.complete(running, result="1", at=queue.now()))])

        async with asyncio.timeout(10):
            await queue.wait_for_work(changes, timeout=60)

    async def test_a_draining_queue_runs_the_records_of_before(self, queue: BaseQueueBackend) -> None:
        """Also what comes back for a retry; what came later waits, whatever its priority."""
        (running,) = await claimed(queue, a_record(queue="mail"))
        before = a_record(queue="mail")
        await queue.insert([before])
        await queue.change_queue("mail", draining=queue.now())
        await queue.insert([a_record(queue="mail", priority=9, created_at=queue.now() + timedelta(seconds=1))])
        await queue.swap([a_swap(lifecycle.interrupt(running, at=queue.now() - timedelta(seconds=1)))])

        taken = (await queue.claim(a_claim())).records

        assert {record.id for record in taken} == {running.id, before.id}
        assert await queue.next_due(a_claim()) is None

    async def test_fields_of_a_queue_are_changed_one_by_one(self, queue: BaseQueueBackend) -> None:
        """A pause does not remove a limit that another caller has set."""
        await queue.change_queue("mail", limits=HOURLY)
        await queue.change_queue("mail", paused=True)

        assert await queue.queues() == {"mail": QueueState(paused=True, limits=HOURLY)}
        assert not await queue.swap_queue("mail", QueueState(), QueueState(limits=ONE))
        assert not await queue.swap_queue("film", QueueState(paused=True), QueueState())

    async def test_many_workers_never_start_more_than_allowed(self, queue: BaseQueueBackend) -> None:
        """This holds for any interleaving."""
        names = [f"worker-{number}" for number in range(8)]
        await asyncio.gather(*[queue.register(a_worker(name)) for name in names])
        await queue.change_queue("film", limits=Limits(concurrency=4))
        await queue.insert([of("ann", TWO, queue=("mail", "film")[number % 2]) for number in range(30)])
        await queue.insert([a_record(queue="film") for _ in range(30)])

        answers = await asyncio.gather(*[queue.claim(a_claim(name, limit=5)) for name in names])

        taken = [record for answer in answers for record in answer.records]
        assert sum(record.concurrency_key == "ann" for record in taken) == 2
        assert sum(record.queue == "film" for record in taken) == 4
