"""Streamable HTTP: stateless, one JSON answer per POST. Needs no affinity, so any instance may serve any request."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pydantic_core
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import INVALID_REQUEST, ErrorData, JSONRPCError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from .bodies import BodyTooLarge, read_body
from .messages import SENTENCE, parse


class HttpEndpoint:
    """The SDK's session manager, made anew per lifespan: it can run only once, Mangum runs a lifespan per event."""

    def __init__(self, server: "Server[Any]", max_body: int) -> None:
        self._server = server
        self._max_body = max_body
        self._manager: StreamableHTTPSessionManager | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # No security settings: Host and Origin are checked at the door, for all transports alike.
        manager = StreamableHTTPSessionManager(
            self._server, stateless=True, json_response=True, max_request_body_size=self._max_body
        )
        async with manager.run():
            self._manager = manager
            try:
                yield
            finally:
                self._manager = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._manager is None:
            raise RuntimeError("the application's lifespan was not entered")
        try:
            body = await read_body(scope, receive, self._max_body)
        except ClientDisconnect:
            return  # in the middle of its request; the SDK would log an error with a trace
        except BodyTooLarge as e:
            await PlainTextResponse(str(e), 413)(scope, receive, send)
            return
        # RFC 9110, 5.5: whitespace around a header's value is no part of it. uvicorn's httptools parser leaves it at
        # the end, and the SDK compares the Mcp-* headers with the body.
        headers = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        if (refusal := _refusal(headers, body)) is not None:
            await refusal(scope, receive, send)
            return
        await self._manager.handle_request({**scope, "headers": headers}, _replaying(body, receive), send)


def _refusal(headers: list[tuple[bytes, bytes]], body: bytes) -> Response | None:
    """The answer to JSON that is no message, in the handshake's protocols: the SDK's would be pydantic's text. What it
    says in the later ones, and to what is no JSON, is a sentence."""
    version = dict(headers).get(b"mcp-protocol-version")
    if version is not None and version.decode("latin-1") not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    message, error = parse(body)
    if message is not None:
        return None
    try:
        pydantic_core.from_json(body)
    except ValueError:
        return None
    error = error or JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=INVALID_REQUEST, message=SENTENCE))
    return Response(error.model_dump_json(by_alias=True, exclude_unset=True), 400, media_type="application/json")


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was already read, and then what `receive` gives."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
