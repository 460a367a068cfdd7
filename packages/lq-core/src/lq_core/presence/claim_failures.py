"""A worker whose heartbeat works, but whose claims have failed for long, gives up its records."""

import asyncio
from collections.abc import Awaitable

from lq_core.foundation.event_log import event_log
from lq_core.presence.heartbeat import Heartbeat
from lq_core.queue import Claimed

log = event_log()


class ClaimFailures:
    """
    Gives up the records of a heartbeat when claims have failed for *limit* seconds, until one works again.

    If the database cannot be used at all, the heartbeat fails, too, and decides.
    """

    def __init__(self, heartbeat: Heartbeat, *, limit: float) -> None:
        self._heartbeat = heartbeat
        self._limit = limit
        self._since: float | None = None
        self._gave_up = False
        self.trouble: str | None = None
        """How long claims have failed, and the last error, from *limit* on."""

    async def watched(self, claiming: Awaitable[Claimed]) -> Claimed:
        """Await a claim, and note whether it fails."""
        try:
            claimed = await claiming
        except Exception as error:
            await self._failed(error)
            raise
        if self._since is not None:
            if self._gave_up:
                await self._heartbeat.recover()
            self._since, self._gave_up, self.trouble = None, False, None
        return claimed

    async def _failed(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        if now - self._since < self._limit:
            return
        self.trouble = f"Claims have failed for {now - self._since:.0f} s: {type(error).__name__}: {error}"
        if self._gave_up:
            return
        try:
            await self._heartbeat.give_up()
        except Exception as other:  # noqa: BLE001 -- it is tried again at the next failure
            log.warning("worker.not_given_up", extra={"error": f"{type(other).__name__}: {other}"})
        else:
            self._gave_up = True
            log.error("worker.gave_up", extra={"reason": self.trouble})
