"""Raw connections of peers that mean no good, or have gone to sleep."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx

SOON = 20.0  # seconds; what is waited for takes one or two


class Peer:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        """Send, unless the server has closed."""
        with contextlib.suppress(OSError):
            self.writer.write(data)
            await self.writer.drain()

    async def answer(self) -> bytes:
        """Everything that comes until the server closes."""
        came = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SOON):
                while part := await self.reader.read(65_536):
                    came += part
        return came

    async def status(self) -> int:
        """Of the next answer; 0 if there is none."""
        async with asyncio.timeout(SOON):
            try:
                line = await self.reader.readline()
            except ConnectionError:
                return 0
        return int(line.split()[1]) if line else 0

    @property
    def closed(self) -> bool:
        """By the server."""
        return self.reader.at_eof() or self.reader.exception() is not None


@contextlib.asynccontextmanager
async def peers(base: str, n: int) -> AsyncIterator[list[Peer]]:
    """`n` connections to the server at `base`."""
    url = httpx.URL(base)
    made: list[Peer] = []
    try:
        for _ in range(n):
            made.append(Peer(*await asyncio.open_connection(url.host, url.port)))  # noqa: PERF401 - closed below
        yield made
    finally:
        for one in made:
            one.writer.transport.abort()


@contextlib.asynccontextmanager
async def peer(base: str) -> AsyncIterator[Peer]:
    """One connection to the server at `base`."""
    async with peers(base, 1) as (one,):
        yield one
