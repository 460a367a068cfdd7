"""How executions are listed: newest first, in pages that new executions do not disturb."""

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.run_v2 import types as run

from lq_cloudrun.emulator import Clients, EmulatedJob, Emulator, connected

JOBS = (EmulatedJob(name="reports", command=["true"]), EmulatedJob(name="mail", command=["true"]))


async def started(clients: Clients, emulator: Emulator, *jobs: str) -> list[str]:
    operations = [await clients.jobs.run_job(name=emulator.job_name(job), timeout=5) for job in jobs]
    return [operation.metadata.name for operation in operations]


async def listed(clients: Clients, parent: str) -> list[str]:
    pages = await clients.executions.list_executions(parent=parent, timeout=5)
    return [execution.name async for execution in pages]


async def test_the_newest_execution_of_a_job_comes_first() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        first, _, third = await started(clients, emulator, "reports", "mail", "reports")

        assert await listed(clients, emulator.job_name("reports")) == [third, first]


async def test_a_dash_lists_the_executions_of_all_jobs() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        names = await started(clients, emulator, "reports", "mail", "reports")

        assert await listed(clients, emulator.job_name("-")) == names[::-1]


async def test_pages_neither_repeat_nor_leave_out_while_executions_are_created() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        names = await started(clients, emulator, *["reports"] * 5)
        request = run.ListExecutionsRequest(parent=emulator.job_name("reports"), page_size=2)
        pages = await clients.executions.list_executions(request, timeout=5)
        first = [execution.name for execution in pages.executions]
        await started(clients, emulator, "reports")
        walked = [execution.name async for execution in pages]

    assert first == names[:-3:-1]
    assert walked == names[::-1]
    assert emulator.calls("ListExecutions") == 3


async def test_the_last_page_has_no_token() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        await started(clients, emulator, "reports", "reports")
        request = run.ListExecutionsRequest(parent=emulator.job_name("reports"), page_size=2)
        pages = await clients.executions.list_executions(request, timeout=5)

    assert pages.next_page_token == ""


async def test_a_foreign_page_token_and_an_unknown_job_are_refused() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        request = run.ListExecutionsRequest(parent=emulator.job_name("reports"), page_token="elsewhere")

        with pytest.raises(InvalidArgument, match="page token"):
            await clients.executions.list_executions(request, timeout=5)
        with pytest.raises(NotFound, match="no job"):
            await clients.executions.list_executions(parent=emulator.job_name("unknown"), timeout=5)


async def test_a_frozen_list_shows_new_executions_only_when_released() -> None:
    async with Emulator(JOBS) as emulator, connected(emulator.address) as clients:
        [old] = await started(clients, emulator, "reports")
        with emulator.faults.freeze_list():
            [new] = await started(clients, emulator, "reports")
            behind = await listed(clients, emulator.job_name("reports"))
            known = await clients.executions.get_execution(name=new, timeout=5)

        assert (behind, known.name) == ([old], new)
        assert await listed(clients, emulator.job_name("reports")) == [new, old]
