"""A small HTTP server for probes and scrapes of one process, which serves nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, NamedTuple, Self

from lq_core.foundation.event_log import event_log

log = event_log()

PATIENCE: Final = 5.0
"""Seconds for one request; a client that is slower is dropped."""

LINE_LIMIT: Final = 8_192
"""The most bytes of a request line."""


class Answer(NamedTuple):
    """What a path answers."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class StatusServer:
    """
    Serves ``GET`` requests: ``async with StatusServer("127.0.0.1", 9101, {"/healthz": healthy})``.

    Each path has a function that makes its answer; one that raises answers 503 with the error. Port 0 takes a free
    port. Raises OSError if the address cannot be used.
    """

    def __init__(self, host: str, port: int, paths: Mapping[str, Callable[[], Awaitable[Answer]]]) -> None:
        self.host = host
        self.port = port
        """The port; after entering, the one that is listened on."""

        self._paths = paths
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=LINE_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("status.listening", extra={"address": f"http://{self.host}:{self.port}", "paths": list(self._paths)})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass  # Headers change nothing here.
                answer = await self._answer(line)
                head = (
                    f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
                )
                writer.write(f"{head}Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n".encode())
                writer.write(b"" if line.startswith(b"HEAD ") else answer.body)
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("status.request_dropped", extra={"error": f"{type(error).__name__}: {error}"})
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        method, _, rest = line.decode("latin-1").partition(" ")
        path = rest.split(" ")[0].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"Use GET.\n")
        if path not in self._paths:
            return Answer(HTTPStatus.NOT_FOUND, f"Try one of: {', '.join(self._paths)}\n".encode())
        try:
            return await self._paths[path]()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the process is not well, and the prober is told
            log.warning("status.failed", extra={"path": path, "error": f"{type(error).__name__}: {error}"})
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{type(error).__name__}: {error}\n".encode())
