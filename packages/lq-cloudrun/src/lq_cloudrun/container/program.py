"""
The program of the container: it runs one record, or all records that are due, and exits with one code.

It imports none of Google's packages, so that it starts fast. It stores the outcome of the record before the process
ends, also when Cloud Run asks it to stop.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

from lq_cloudrun.container.environment import EnvironmentProblem, PullContainer, read_container
from lq_cloudrun.container.queue_access import ServiceFactory, load_service
from lq_cloudrun.container.record_mode import RecordRun
from lq_cloudrun.container.sigterm import sigterm
from lq_cloudrun.executions.status import CloudRunExitCode
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import QueueError
from lq_core.foundation.event_log import event_log, show_events
from lq_core.foundation.import_path import import_of_application
from lq_core.foundation.process_end import end_with, leave_threads
from lq_core.service import QueueService

log = event_log("lq.cloudrun")

CLOSING: Final = 3.0
"""Seconds to sign off before the process ends."""


async def execute_cloudrun_task(
    *,
    config: QueueConfig | None = None,
    service: QueueService | None = None,
    service_factory: ServiceFactory | None = None,
    env: Mapping[str, str] | None = None,
) -> CloudRunExitCode:
    """
    Run the record that the environment names, or the records that are due, and return the exit code.

    The service is *service* (opened if necessary, and left open), or what *service_factory* makes, or one for *config*,
    or the one that the variable ``{env_prefix}_CONFIG`` or ``{env_prefix}_CONFIG_FACTORY`` names.
    """
    with sigterm(then=signal.getsignal(signal.SIGTERM)) as stopping:
        return await _execute(os.environ if env is None else env, stopping, config, service, service_factory)


def main() -> None:
    """Do the work of this container; always raises SystemExit with the code."""
    show_events()
    if "" not in sys.path and os.getcwd() not in sys.path:  # noqa: PTH109 -- a path to import from, as text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 -- as above
    code = int(asyncio.run(_main()))
    end_with(code)
    raise SystemExit(code)


async def _main() -> CloudRunExitCode:
    leave_threads()
    # The outcome is stored by then, so that the code has to be the exit code.
    with sigterm(then=signal.SIG_IGN) as stopping:
        return await _execute(os.environ, stopping)


async def _execute(
    env: Mapping[str, str],
    stopping: "asyncio.Future[None]",
    config: QueueConfig | None = None,
    service: QueueService | None = None,
    service_factory: ServiceFactory | None = None,
) -> CloudRunExitCode:
    began, opened, facts = time.monotonic(), None, dict[str, object]()
    stack = AsyncExitStack()
    try:
        container = read_container(env, config or (service.config if service else None))
        if not isinstance(container, PullContainer):
            facts = container.facts
            if container.index > 0:
                reason = "only the first task of an execution runs a record"
                log.info("cloudrun.nothing_to_do", extra={"reason": reason})
                return CloudRunExitCode.SUCCESS
        if service is None:
            service = opened = await load_service(container, config, service_factory, stack)
        service.config.check_store_is_chosen()
        for name in container.task_modules:
            import_of_application(name, said=f"{container.prefix}_TASK_MODULES names {name!r}")
        if isinstance(container, PullContainer):
            from lq_cloudrun.container.pull_mode import pull  # noqa: PLC0415 -- one record does without a worker

            return await pull(service, container, began=began, stopping=stopping)
        run = RecordRun(service=service, container=container, began=began, stopping=stopping)
        try:
            return await run.perform()
        finally:
            opened = opened or run.presence
    except EnvironmentProblem as problem:
        log.error("cloudrun.refused", extra={"reason": str(problem)})  # noqa: TRY400 -- the line says all
        return CloudRunExitCode.MISSING_TASK_ID if problem.missing else CloudRunExitCode.INVALID_TASK_ID
    except (QueueError, ImportError, OSError) as error:
        log.error("cloudrun.refused", extra={**facts, "reason": str(error)})  # noqa: TRY400 -- the line says what to do
        return CloudRunExitCode.FAILURE
    except Exception as error:
        log.exception("cloudrun.refused", extra={**facts, "reason": f"{type(error).__name__}: {error}"})
        return CloudRunExitCode.FAILURE
    finally:
        if opened is not None:
            await _close(opened.close)
        await _close(stack.aclose)


async def _close(close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(CLOSING):
            await close()
    except Exception as error:  # noqa: BLE001 -- the code says how the record ended, and not the closing
        log.warning("cloudrun.not_closed", extra={"error": f"{type(error).__name__}: {error}"})
