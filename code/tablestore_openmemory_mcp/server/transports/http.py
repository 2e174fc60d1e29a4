"""Streamable HTTP: stateless, one JSON answer per POST. Needs no affinity, so any instance may serve any request."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import DEFAULT_NEGOTIATED_VERSION
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..caller import Caller
from ..request_bodies import BodyTooLarge, read_body
from .http_exchange import exchange
from .messages import parse, refusal, without_bom
from .negotiation import accepted, as_event, is_json, normalised

NOT_ACCEPTABLE = "This address answers with application/json or text/event-stream; the Accept header excludes both."
NOT_JSON = "Send application/json."


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
        body, takes = without_bom(body), accepted(headers)
        if not takes.json and takes.sse:
            send = as_event(send)
        if not (takes.json or takes.sse):
            await PlainTextResponse(NOT_ACCEPTABLE, 406)(scope, receive, send)
        elif not is_json(headers):
            await PlainTextResponse(NOT_JSON, 415)(scope, receive, send)
        elif (version := _handshake_version(headers)) is not None:
            response = await self._handshake(body, version, scope["caller"])
            await response(scope, receive, send)
        else:
            headers = normalised(headers, takes)
            await self._manager.handle_request({**scope, "headers": headers}, _replaying(body, receive), send)

    async def _handshake(self, body: bytes, version: str, caller: Caller) -> Response:
        message, _ = parse(body)
        if message is not None:
            return await exchange(self._server, message, version, caller)
        error = refusal(body)
        return Response(error.model_dump_json(by_alias=True, exclude_unset=True), 400, media_type="application/json")


def _handshake_version(headers: list[tuple[bytes, bytes]]) -> str | None:
    """The version that the message is in, if it is one with a handshake. The SDK answers everything else."""
    for name, value in headers:
        if name == b"mcp-protocol-version":
            version = value.decode("latin-1")
            return version if version in HANDSHAKE_PROTOCOL_VERSIONS else None
    return DEFAULT_NEGOTIATED_VERSION


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
