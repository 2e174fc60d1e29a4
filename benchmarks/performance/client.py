"""MCP clients that cost next to nothing, so that it is not they who are measured: about 0.1 ms of CPU per call.

session = await SseSession.open(port, "/mcp/cline/sse/alice")
text = await session.tool("search_memories", query="…")
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, Self

import httptools

KEEP_ALIVE = 4.0  # seconds that a connection may be idle and is still used: uvicorn closes it after 5
PATIENCE = 300.0  # seconds for one answer: the reference answers one call at a time
INITIALIZE = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "load", "version": "1"}}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Failed(Exception):
    """A call that was not answered as it should be; the text is what the server said."""


class Refused(Failed):
    """The server answered, with an error."""


class Connection(asyncio.Protocol):
    """HTTP/1.1, kept alive, one request at a time. `on_body` sees the parts of a body that never ends."""

    def __init__(self, on_body: Callable[[bytes], None] | None = None) -> None:
        self._on_body = on_body
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._used = time.monotonic()
        self.closed = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, port: int, on_body: Callable[[bytes], None] | None = None) -> Self:
        _, made = await asyncio.get_running_loop().create_connection(lambda: cls(on_body), "127.0.0.1", port)
        return made

    def send(self, method: str, path: str, body: bytes = b"") -> "asyncio.Future[tuple[int, bytes]]":
        """The answer's status and body, when it is whole. Raises Failed if the connection ends before."""
        if self._transport is None or self.closed.done():
            raise Failed("the connection is closed")
        accept = "text/event-stream" if method == "GET" else "application/json, text/event-stream"
        head = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: {accept}\r\n"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + b"\r\n" + body)
        return self._answer

    @property
    def stale(self) -> bool:
        """Whether a client would rather open another one."""
        return self.closed.done() or time.monotonic() - self._used > KEEP_ALIVE

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # --- asyncio.Protocol, and what the parser calls ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as e:
            self.connection_lost(e)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Failed(f"the connection ended: {error or 'closed'}"))

    def on_body(self, body: bytes) -> None:
        if self._on_body is not None:
            self._on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        body, self._body = bytes(self._body), bytearray()
        self._used = time.monotonic()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), body))
        if not self._parser.should_keep_alive():
            self.connection_lost(None)
            self.close()


async def fresh(connection: Connection | None, port: int) -> Connection:
    """This one, or another if it cannot be relied upon."""
    if connection is not None and not connection.stale:
        return connection
    if connection is not None:
        connection.close()
    return await Connection.open(port)


class SseSession:
    """A session over SSE: a stream for what the server says, and a connection for what the client says."""

    def __init__(self, port: int, patience: float) -> None:
        self._port = port
        self._patience = patience
        self._number = 0
        self._rest = b""
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stream: Connection | None = None
        self._posts: Connection | None = None

    @classmethod
    async def open(cls, port: int, path: str, patience: float = PATIENCE) -> Self:
        """Connect and shake hands. Raises Failed or OSError."""
        session = cls(port, patience)
        session._stream = await Connection.open(port, session._heard)
        session._stream.closed.add_done_callback(session._ended)
        head = session._stream.send("GET", path)
        first: list[asyncio.Future[Any]] = [head, session._endpoint]
        await asyncio.wait(first, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not session._endpoint.done():
            session.close()
            raise Failed(f"the stream was refused: {head.result() if head.done() else 'no answer'}")
        head.cancel()
        try:
            await session.request("initialize", INITIALIZE)
            await session._post(INITIALIZED)
        except BaseException:
            session.close()
            raise
        return session

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer's result. Raises Failed."""
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        try:
            await self._post({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
            message = await asyncio.wait_for(answer, self._patience)
        except TimeoutError:
            raise Failed(f"no answer within {self._patience:.0f} s") from None
        finally:
            del self._waiting[self._number]
        return result_of(message)

    async def tool(self, name: str, **arguments: str) -> str:
        """The answer's text. Raises Failed with it if it is an error."""
        return text_of(await self.request("tools/call", {"name": name, "arguments": arguments}))

    def close(self) -> None:
        for connection in (self._stream, self._posts):
            if connection is not None:
                connection.close()

    async def _post(self, message: dict[str, Any]) -> None:
        self._posts = posts = await fresh(self._posts, self._port)
        status, body = await posts.send("POST", self._endpoint.result(), json.dumps(message).encode())
        if status not in (200, 202):  # the reference answers 200
            raise Failed(f"HTTP {status}: {body[:200].decode(errors='replace')}")

    def _heard(self, part: bytes) -> None:
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if not self._endpoint.done():
                self._endpoint.set_result(data.decode())
                continue
            message = json.loads(data)
            answer = self._waiting.get(message.get("id"))
            if answer is not None and not answer.done():
                answer.set_result(message)

    def _ended(self, _: object) -> None:
        waiting: list[asyncio.Future[Any]] = [self._endpoint, *self._waiting.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(Failed("the stream ended"))
                answer.exception()  # whoever waits sees it; nobody waiting is no error


class HttpSession:
    """Streamable HTTP without a session: each call is one POST and its answer."""

    def __init__(self, port: int, path: str, patience: float = PATIENCE) -> None:
        self._address = port, path
        self._patience = patience
        self._number = 0
        self._posts: Connection | None = None

    async def tool(self, name: str, **arguments: str) -> str:
        port, path = self._address
        self._posts = await fresh(self._posts, port)
        self._number += 1
        params = {"name": name, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": self._number, "method": "tools/call", "params": params}
        try:
            status, body = await asyncio.wait_for(
                self._posts.send("POST", path, json.dumps(message).encode()), self._patience
            )
        except TimeoutError:
            self.close()
            raise Failed(f"no answer within {self._patience:.0f} s") from None
        if status != 200:
            raise Failed(f"HTTP {status}: {body[:200].decode(errors='replace')}")
        return text_of(result_of(json.loads(body)))

    def close(self) -> None:
        if self._posts is not None:
            self._posts.close()


Session = SseSession | HttpSession


def result_of(message: dict[str, Any]) -> dict[str, Any]:
    """Raises Refused if the answer is a JSON-RPC error."""
    if "error" in message:
        raise Refused(json.dumps(message["error"], ensure_ascii=False))
    result: dict[str, Any] = message["result"]
    return result


def text_of(result: dict[str, Any]) -> str:
    """Raises Refused if it is an error: the reference's errors are ordinary texts."""
    text: str = result["content"][0]["text"] if result.get("content") else ""
    if result.get("isError") or text.startswith("Error"):
        raise Refused(text)
    return text


@contextlib.asynccontextmanager
async def sessions(port: int, paths: list[str]) -> Any:
    """One open SSE session per path, opened all at once."""
    opened: list[SseSession] = list(await asyncio.gather(*(SseSession.open(port, path) for path in paths)))
    try:
        yield opened
    finally:
        for session in opened:
            session.close()
        await asyncio.sleep(0)
