"""One HTTP/1.1 connection: requests in, answers out, in order, head and body of an answer in one segment."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

from ..rows.limits import BODY_BYTES

_REASONS = {status.value: status.phrase for status in HTTPStatus}


_HEAD_BYTES = 64 * 1024  # of a request's line and headers; what has been received at once is taken whole
_RECEIVED_BYTES = 256 * 1024  # asyncio hands over no more at once
_MAX_WAITING = 16  # pipelined requests read ahead of the one being served


@dataclass(slots=True)
class Request:
    """One request. Header names are in lower case; `too_large`: the body was cut off at the limit."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    too_large: bool = False


@dataclass(slots=True)
class _Incoming:
    path: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    size: int = 0


class Connection(asyncio.Protocol):
    """Calls `serve(connection, request)` for one request at a time; the next follows after `answer`."""

    def __init__(
        self,
        serve: Callable[["Connection", Request], None],
        opened: Callable[["Connection"], None],
        closed: Callable[["Connection"], None],
    ) -> None:
        self._serve = serve
        self._opened = opened
        self._closed = closed
        self._parser = httptools.HttpRequestParser(self)
        self._incoming = _Incoming()
        self._waiting: deque[Request] = deque()
        self._head = 0  # bytes of one that is not whole yet
        self._in_head = True
        self._busy = False
        self._serving = False
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a TCP transport always is one
        self._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._closing = True
            if not self._busy:
                self.answer(400, {"Content-Type": "text/plain"}, b"This is not an HTTP/1.1 request.\n")
            return
        self._head = self._head + len(data) if self._in_head else 0
        if self._head > _HEAD_BYTES:  # anybody on the machine may send one without end
            self.drop()

    def on_message_begin(self) -> None:
        self._incoming = _Incoming()

    def on_url(self, url: bytes) -> None:
        self._incoming.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._incoming.headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._incoming.size += len(body)
        if self._incoming.size <= BODY_BYTES:
            self._incoming.body.append(body)

    def on_message_complete(self) -> None:
        self._in_head, self._head = True, -_RECEIVED_BYTES  # some of what is received with it is its own
        done = self._incoming
        path = done.path.decode("latin-1").partition("?")[0]
        method = self._parser.get_method().decode("latin-1")
        self._waiting.append(Request(method, path, done.headers, b"".join(done.body), done.size > BODY_BYTES))
        if not self._parser.should_keep_alive():
            self._closing = True
        self._next()

    def _next(self) -> None:
        if self._serving:  # called back by `answer`, inside the loop below
            return
        self._serving = True
        while not self._busy and self._waiting:
            self._busy = True
            self._serve(self, self._waiting.popleft())
        self._serving = False
        if self._transport is not None:
            self._transport.resume_reading() if len(self._waiting) < _MAX_WAITING else self._transport.pause_reading()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send the answer to the request being served; on to the next one."""
        self._busy = False
        if self._transport is None:
            return
        close = self._closing and not self._waiting
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}", *(f"{k}: {v}" for k, v in headers.items())]
        lines += [f"Content-Length: {len(body)}", f"Connection: {'close' if close else 'keep-alive'}", "", ""]
        self._transport.write("\r\n".join(lines).encode("latin-1") + body)
        if close:
            self._transport.close()
        else:
            self._next()

    def drop(self) -> None:
        """Cut the connection without an answer."""
        if self._transport is not None:
            self._transport.abort()

    def finish(self) -> None:
        """Close once nothing is being answered."""
        self._closing = True
        if not self._busy and not self._waiting and self._transport is not None:
            self._transport.close()
