"""
A TCP proxy that fails like a network when a test asks for it.

There are four faults: :meth:`TcpProxy.cut` (connections are reset), :meth:`TcpProxy.stall` (bytes wait),
:meth:`TcpProxy.forget` (bytes are lost without an error) and :meth:`TcpProxy.lose` (one answer is lost).
:meth:`TcpProxy.resume` ends the first three for new connections, and passes stalled bytes on.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

CHUNK: Final = 65536


class TcpProxy:
    """
    Listens on 127.0.0.1 and passes bytes to *host* and *port*; use it as an async context manager.

    While connections are cut, it refuses new ones. While they are stalled or forgotten, it accepts new ones and passes
    no bytes on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._links: Final[set[_Link]] = set()
        self._flow: Final = asyncio.Event()
        self._refuse = False
        self._forget = False
        self._marked = _Marked()
        self._flow.set()
        self.port = 0
        self.sent = 0
        """How often the clients have sent something; requests that wait for their answers are so many round trips."""

    @override
    def __repr__(self) -> str:
        state = (
            "cut" if self._refuse else "forgetful" if self._forget else "flowing" if self._flow.is_set() else "stalled"
        )
        return f"<{type(self).__name__} port={self.port} {state} links={len(self._links)}>"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._drop_all()

    @property
    def links(self) -> int:
        """Count the open connections, including forgotten ones."""
        return len(self._links)

    def lead_to(self, host: str, port: int) -> None:
        """Lead new connections to another server, as a changed DNS record does; open ones stay as they are."""
        self._target = (host, port)

    async def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._refuse = True
        await self._drop_all()

    def stall(self) -> None:
        """Hold all bytes back; they arrive after :meth:`resume`."""
        self._flow.clear()

    def forget(self) -> None:
        """Lose every byte from now on, in both directions, without closing the connections."""
        self._forget = True
        for link in self._links:
            link.is_forgotten = True

    def lose(self, words: bytes) -> asyncio.Event:
        """Lose the next answer that contains *words*, and forget its connection. Then set the returned event."""
        self._marked.words, self._marked.lost = words, asyncio.Event()
        return self._marked.lost

    def resume(self) -> None:
        """Pass bytes and accept connections again, except on forgotten connections."""
        self._refuse = False
        self._forget = False
        self._flow.set()

    async def _drop_all(self) -> None:
        links = tuple(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.ended.wait() for link in links))

    def _count(self) -> None:
        self.sent += 1

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = _Link(self._flow, self._marked, writer, self._count)
        link.is_forgotten = self._forget
        self._links.add(link)
        try:
            if self._refuse:
                link.reset()
            else:
                await link.carry(reader, self._target)
        finally:
            self._links.discard(link)
            link.ended.set()


class _Marked:
    """Finds the answer to lose, once, by some words in it."""

    def __init__(self) -> None:
        self.words = b""
        self.lost = asyncio.Event()

    def is_in(self, chunk: bytes) -> bool:
        if not self.words or self.words not in chunk:
            return False
        self.words = b""
        self.lost.set()
        return True


class _Link:
    """One connection through the proxy: two tasks that pass bytes and end together."""

    def __init__(self, flow: asyncio.Event, marked: _Marked, writer: StreamWriter, count: Callable[[], None]) -> None:
        self.is_forgotten = False
        self._count = count
        self.ended: Final = asyncio.Event()
        self._flow = flow
        self._marked = marked
        self._writers: Final = [writer]
        self._tasks: Final[list[asyncio.Task[None]]] = []

    def reset(self) -> None:
        """Break both sides at once."""
        for task in self._tasks:
            _ = task.cancel()
        for writer in self._writers:
            writer.transport.abort()

    async def carry(self, reader: StreamReader, target: tuple[str, int]) -> None:
        """Pass bytes both ways until one side ends or the link is reset."""
        try:
            far_reader, far_writer = await asyncio.open_connection(*target)
        except OSError:
            self.reset()
            return
        self._writers.append(far_writer)
        pairs = ((reader, far_writer), (far_reader, self._writers[0]))
        self._tasks.extend(asyncio.create_task(self._pass_bytes(source, sink)) for source, sink in pairs)
        _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in self._tasks:
            _ = task.cancel()
        _ = await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def _pass_bytes(self, source: StreamReader, sink: StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(CHUNK):
                if sink is not self._writers[0]:
                    self._count()
                _ = await self._flow.wait()
                if sink is self._writers[0] and self._marked.is_in(chunk):
                    self.is_forgotten = True
                if not self.is_forgotten:
                    sink.write(chunk)
                    await sink.drain()
        _ = await self._flow.wait()
        if self.is_forgotten:
            # The end of the connection is lost too.
            _ = await asyncio.Event().wait()
