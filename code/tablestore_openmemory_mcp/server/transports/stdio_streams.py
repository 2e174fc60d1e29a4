"""stdin and stdout as a transport of the MCP SDK: one JSON-RPC message per line.

Not the SDK's `stdio_server` (mcp 2.3.0): it takes U+FFFD for bytes that are no UTF-8, chokes on a byte order mark, says
nothing to a line that is no message, reads lines without bound, and cuts running calls off when stdin ends.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

from .messages import parse, refusal, too_long

CHUNK = 65_536  # bytes read at once


class _Stream:
    """What the SDK asks of either stream beside reading or writing."""

    async def aclose(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None


class Writer(_Stream):
    """stdout. Messages are written whole, one after the other."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        """`failed` is called with a reason when nobody reads any more."""
        self._failed = failed
        self._fd = -1
        self._turn, self._thread = anyio.Lock(), anyio.CapacityLimiter(1)
        self._unanswered = 0
        self._all_answered = anyio.Event()

    def open(self, fd: int) -> None:
        self._fd = fd

    async def send(self, item: SessionMessage, /) -> None:
        """One of the dispatcher's messages. Raises BrokenResourceError if nobody reads any more."""
        try:
            await self.write(item)
        finally:
            if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                self.settle()

    async def write(self, item: SessionMessage) -> None:
        """The same for a message that answers no request of the dispatcher's."""
        data = item.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
        try:
            async with self._turn:
                await anyio.to_thread.run_sync(_write_all, self._fd, data, limiter=self._thread)
        except OSError:
            self._failed("stdout is closed")
            raise anyio.BrokenResourceError from None

    def expect(self) -> None:
        """One more request waits for its answer."""
        self._unanswered += 1

    def settle(self) -> None:
        """One has it, or was cancelled by the client."""
        self._unanswered -= 1
        if not self._unanswered:
            self._all_answered.set()

    @property
    def unanswered(self) -> int:
        """How many requests wait for their answer."""
        return self._unanswered

    async def settled(self) -> None:
        """Wait until no request waits for its answer."""
        while self._unanswered:
            self._all_answered = anyio.Event()
            await self._all_answered.wait()


class Reader(_Stream):
    """stdin. It ends when `leave` was called, and only after `before_end`: the SDK cancels what runs then."""

    def __init__(self, longest: int, before_end: Callable[[str], Awaitable[None]]) -> None:
        """`longest`: bytes of one line. `before_end` gets the reason for the end."""
        self.writer = Writer(self.leave)
        self.heard = False  # whether the client has said anything
        self._longest = longest
        self._before_end = before_end
        self._reason: str | None = None
        self._from_thread, self._lines = anyio.create_memory_object_stream[bytes | None](0)
        self._waiting = anyio.CancelScope()

    def open(self) -> None:
        """Take stdin and stdout, and begin to read. What a library prints from now on goes to stderr."""
        fd = _taken(0, os.open(os.devnull, os.O_RDONLY))
        self.writer.open(_taken(1, os.dup(2)))
        # A daemon: a blocked read cannot be ended, and must not hold the process.
        args = (fd, asyncio.get_running_loop())
        threading.Thread(target=self._read, args=args, name="stdin", daemon=True).start()

    def leave(self, reason: str) -> None:
        """Take no more messages, from anywhere on the event loop. The first reason counts."""
        if self._reason is None:
            self._reason = reason
            self._waiting.cancel()

    async def receive(self) -> SessionMessage:
        while self._reason is None:
            with anyio.CancelScope() as self._waiting:
                line = await self._lines.receive()
            if self._waiting.cancelled_caught:
                break
            if (message := await self._understood(line)) is not None:
                return message
        await self._before_end(self._reason or "")
        raise anyio.EndOfStream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def _understood(self, line: bytes | None) -> SessionMessage | None:
        """The message in a line; what is none is answered. None stands for a line that was too long."""
        if line is not None and not line.strip():
            return None
        message, error = (None, too_long(self._longest)) if line is None else parse(line)
        if message is None:
            with suppress(anyio.BrokenResourceError):
                await self.writer.write(SessionMessage(error or refusal(line or b"")))
            return None
        self.heard = True
        if not isinstance(message, JSONRPCRequest):
            return SessionMessage(message)
        self.writer.expect()
        return SessionMessage(message, ServerMessageMetadata(on_request_unanswered=self._cancelled))

    async def _cancelled(self) -> None:
        self.writer.settle()

    def _read(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError, CancelledError, anyio.BrokenResourceError):  # the loop has ended: so does this
            with suppress(OSError):  # a closed descriptor, or a terminal that is gone: an end like any other
                for line in lines(lambda: os.read(fd, CHUNK), self._longest):
                    asyncio.run_coroutine_threadsafe(self._from_thread.send(line), loop).result()
            loop.call_soon_threadsafe(self.leave, "stdin ended")


def lines(read: Callable[[], bytes], longest: int) -> Iterator[bytes | None]:
    """What `read` gives until it gives nothing, line by line, the last one even without its end. None stands for a line
    of more than `longest` bytes, of which no more than that is ever held."""
    held, size = bytearray(), 0
    while chunk := read():
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            yield None if size + len(part) > longest else bytes(held + part)
            held.clear()
            size = 0
        size += len(rest)
        if size <= longest:
            held += rest
        else:
            held.clear()
    if size:
        yield None if size > longest else bytes(held)


def _taken(fd: int, stand_in: int) -> int:
    """What `fd` was, on a descriptor that only this module knows; `fd` itself is `stand_in` from now on."""
    own = os.dup(fd)
    os.dup2(stand_in, fd)
    os.close(stand_in)
    if sys.platform == "win32":  # children inherit by handles, which dup2 leaves as they were
        from mcp.os.win32.utilities import rebind_std_handle_to_fd

        rebind_std_handle_to_fd(fd)
    elif not os.get_blocking(own):  # as some parents leave it
        os.set_blocking(own, True)
    return own


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
