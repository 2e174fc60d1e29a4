"""Streamable HTTP: stateless, one JSON answer per POST. Needs no affinity, so any instance may serve any request."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from ..request_bodies import BodyTooLarge, read_body
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
        refused = _refusal(headers, body, acceptable=takes.json or takes.sse)
        if refused is not None:
            await refused(scope, receive, send)
            return
        headers = normalised(headers, takes)
        await self._manager.handle_request({**scope, "headers": headers}, _replaying(body, receive), send)


def _refusal(headers: list[tuple[bytes, bytes]], body: bytes, *, acceptable: bool) -> Response | None:
    """The answer to what the SDK would refuse without saying what to do, and to JSON that is no message in the
    handshake's protocols, where its answer would be pydantic's text."""
    if not acceptable:
        return PlainTextResponse(NOT_ACCEPTABLE, 406)
    if not is_json(headers):
        return PlainTextResponse(NOT_JSON, 415)
    version = dict(headers).get(b"mcp-protocol-version")
    if version is not None and version.decode("latin-1") not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    if parse(body)[0] is not None:
        return None
    error = refusal(body)
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
