"""Clients below HTTP libraries: connections that open, wait, and drop as bad networks and careless programs do."""

import contextlib
import json
import socket
import struct
from collections.abc import Iterator
from typing import Any, Self

TIMEOUT = 60.0  # seconds; nothing here depends on it
RESET = struct.pack("ii", 1, 0)  # linger for 0 s: close() sends RST instead of FIN


def message(method: str, params: dict[str, Any] | None = None, ident: int | None = 1) -> bytes:
    """A JSON-RPC request; a notification if `ident` is None."""
    body: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params is not None:
        body["params"] = params
    if ident is not None:
        body["id"] = ident
    return json.dumps(body).encode()


INITIALIZE = message(
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}},
)
INITIALIZED = message("notifications/initialized", ident=None)


def tool_call(name: str, arguments: dict[str, str] | None = None, ident: int = 2) -> bytes:
    return message("tools/call", {"name": name, "arguments": arguments or {}}, ident)


class RawConnection:
    """One TCP connection to the server. `receive_buffer`: bytes the kernel may keep of what is not read."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(("127.0.0.1", port))
        self.received = b""

    def get(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def post(self, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body)

    def status(self) -> int:
        """Of the answer whose head comes next."""
        return int(self.until(b"\r\n\r\n").split(b" ", 2)[1])

    def until(self, mark: bytes) -> bytes:
        """What came up to `mark`, which is taken. Raises ConnectionError if the stream ends before it."""
        while mark not in self.received:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError(f"the stream ended after {self.received[-300:]!r}")
            self.received += data
        taken, _, self.received = self.received.partition(mark)
        return taken

    def drop(self, *, reset: bool = False) -> None:
        """Close, without a word or with a RST."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class RawStream(RawConnection):
    """An open SSE session."""

    def __init__(self, port: int, user: str, *, receive_buffer: int | None = None) -> None:
        super().__init__(port, receive_buffer=receive_buffer)
        self.port = port
        try:
            self.get(f"/mcp/raw/sse/{user}")
            self.opened = self.status()
            if self.opened == 200:
                self.until(b"data: ")
                self.messages = self.until(b"\r\n").decode()
        except BaseException:
            self.socket.close()
            raise

    def tell(self, body: bytes) -> int:
        """Post a message of this session on a connection of its own; the status."""
        with RawConnection(self.port) as connection:
            connection.post(self.messages, body)
            return connection.status()

    def initialize(self) -> None:
        """The handshake, as every client does it."""
        self.tell(INITIALIZE)
        self.until(b'"serverInfo"')
        self.tell(INITIALIZED)


@contextlib.contextmanager
def raw_streams(port: int, count: int, *, user: str = "user") -> Iterator[list[RawStream]]:
    """That many sessions, each of a user of its own, all open at once."""
    opened: list[RawStream] = []
    try:
        for i in range(count):
            opened.append(RawStream(port, f"{user}{i}"))  # noqa: PERF401 - those opened must be closed after a failure
        yield opened
    finally:
        for stream in opened:
            stream.drop()
