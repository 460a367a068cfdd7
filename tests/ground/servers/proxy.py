"""
A TCP proxy that misbehaves on command, as networks do.

Four faults: :meth:`TcpProxy.cut` (everybody is told at once), :meth:`TcpProxy.stall`
(bytes wait), :meth:`TcpProxy.forget` (bytes vanish and nobody is told), :meth:`TcpProxy.lose`
(one answer vanishes). :meth:`TcpProxy.resume` ends the first three for connections made from
then on, and lets stalled bytes flow.
"""

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from typing_extensions import override

CHUNK: Final = 65536


class TcpProxy:
    """
    Listens on 127.0.0.1 and passes bytes to *host* and *port*; use it as an async context manager.

    While connections are cut, new ones are refused; while they are stalled or forgotten,
    new ones are accepted and hear nothing.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target: Final = (host, port)
        self._server: asyncio.Server | None = None
        self._links: Final[set[_Link]] = set()
        self._flow: Final = asyncio.Event()
        self._refuse = False
        self._forget = False
        self._marked = _Marked()
        self._flow.set()
        self.port = 0

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
        """How many connections are open through the proxy, forgotten ones included."""
        return len(self._links)

    async def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        self._refuse = True
        await self._drop_all()

    def stall(self) -> None:
        """Hold all bytes back; they arrive after :meth:`resume`."""
        self._flow.clear()

    def forget(self) -> None:
        """Lose every byte from now on, in both directions; both sides believe to be connected."""
        self._forget = True
        for link in self._links:
            link.is_forgotten = True

    def lose(self, words: bytes) -> asyncio.Event:
        """Lose the next answer that contains *words*, and forget its connection; the event says that it is lost."""
        self._marked.words, self._marked.lost = words, asyncio.Event()
        return self._marked.lost

    def resume(self) -> None:
        """Carry bytes and accept connections again; what was forgotten stays forgotten."""
        self._refuse = False
        self._forget = False
        self._flow.set()

    async def _drop_all(self) -> None:
        links = tuple(self._links)
        for link in links:
            link.reset()
        await asyncio.gather(*(link.ended.wait() for link in links))

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        link = _Link(self._flow, self._marked, writer)
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
    """An answer to lose, known by some words in it; it is lost once."""

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
    """One connection through the proxy: two pumps that end together."""

    def __init__(self, flow: asyncio.Event, marked: _Marked, writer: StreamWriter) -> None:
        self.is_forgotten = False
        self.ended: Final = asyncio.Event()
        self._flow = flow
        self._marked = marked
        self._writers: Final = [writer]
        self._pumps: Final[list[asyncio.Task[None]]] = []

    def reset(self) -> None:
        """Break both sides at once."""
        for pump in self._pumps:
            _ = pump.cancel()
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
        self._pumps.extend(asyncio.create_task(self._pump(source, sink)) for source, sink in pairs)
        _ = await asyncio.wait(self._pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in self._pumps:
            _ = pump.cancel()
        _ = await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def _pump(self, source: StreamReader, sink: StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(CHUNK):
                _ = await self._flow.wait()
                if sink is self._writers[0] and self._marked.is_in(chunk):
                    self.is_forgotten = True
                if not self.is_forgotten:
                    sink.write(chunk)
                    await sink.drain()
        _ = await self._flow.wait()
        if self.is_forgotten:
            # One side hung up, but word of that is lost too.
            _ = await asyncio.Event().wait()
