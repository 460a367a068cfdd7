"""Runs a scaler until SIGINT or SIGTERM, whatever errors the database and Google's API raise meanwhile."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace

from lq_cloudrun.config import CloudRunExecutionConfig
from lq_cloudrun.google.connection import connect
from lq_cloudrun.google.refusal import line_of
from lq_cloudrun.pools.scaler import PoolScaler, PoolScaling, PoolStep
from lq_core.config.queue_config import QueueConfig
from lq_core.foundation.errors import ConfigurationError
from lq_core.foundation.event_log import event_log
from lq_core.service import QueueService

log = event_log("lq.cloudrun")


async def run_scaler(
    config: QueueConfig,
    scaling: PoolScaling,
    *,
    cloud: CloudRunExecutionConfig,
    interval: float | None,
    say: Callable[[str], None],
) -> None:
    """
    Scale a pool each *interval* seconds until SIGINT or SIGTERM, and *say* what changes; once if it is None.

    Raises ConfigurationError and StorageError if it cannot begin; with *interval* None, also the errors of its step.
    """
    clients = await connect(cloud)
    try:
        if clients.pools is None:
            raise ConfigurationError(f"clients={cloud.clients!r} has made no client for worker pools; set pools=.")
        async with QueueService(replace(config, task_modules=())) as service:
            scaler = PoolScaler(service, scaling, clients.pools)
            if interval is None:
                say(_told(await scaler.step()))
            else:
                await _repeat(scaler, interval=interval, say=say)
    finally:
        if clients.close is not None:
            await clients.close()


async def _repeat(scaler: PoolScaler, *, interval: float, say: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    said = ""
    while not stop.is_set():
        try:
            told = _told(await scaler.step())
        except Exception as error:  # noqa: BLE001 -- the next look may succeed, whatever failed
            told = f"The pool could not be scaled: {line_of(error)}"
            log.warning("cloudrun.pool_not_scaled", extra={"error": line_of(error)})
        if told != said:
            say(said := told)
        try:
            async with asyncio.timeout(interval):
                await stop.wait()
        except TimeoutError:
            pass


def _told(step: PoolStep) -> str:
    wanted = f"{step.demand.workers_wanted} wanted for {step.demand.due} due and {step.demand.running} running records"
    if step.before != step.after:
        return f"Instances: {step.before} -> {step.after} ({wanted})."
    return f"Instances: {step.after} ({wanted}{', the pool was changed recently' if step.waits else ''})."
