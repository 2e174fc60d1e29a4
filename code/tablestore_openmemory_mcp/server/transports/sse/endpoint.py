"""HTTP+SSE: GET opens a session and streams what the server says, POST /mcp/messages/ takes what the client says.

Not the SDK's SseServerTransport: that one enters the lifespan per connection, bricks clients that reconnect, knows no
limits, logs session ids, and drops in-flight calls on SIGTERM. The wire format is the same (specification 2024-11-05).
"""

import asyncio
import logging
import time
from contextlib import nullcontext
from typing import Any
from urllib.parse import parse_qs, quote

import anyio
from mcp.server import Server
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ....errors import LimitExceeded, ServiceError
from ...caller import Caller, Principal
from ...request_bodies import BodyTooLarge, read_body
from ..messages import parse
from .relay import Relay
from .relay_store import MAX_BODY, Unsettled
from .sessions import Session, SessionClosed, Sessions, TooManyCalls

logger = logging.getLogger(__name__)

PING_INTERVAL = 15.0  # seconds; proxies and Function Compute cut silent connections after 60 or more
SEND_TIMEOUT = 60.0  # seconds until one chunk must have been taken

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
    (b"connection", b"keep-alive"),
]


ACCEPTED = PlainTextResponse("Accepted", 202)
GONE = PlainTextResponse("Could not find session. Open a new stream.", 404)
AWAY = PlainTextResponse(
    "The store is away, so the instance that holds the stream could not be told; nothing was done. Send it again in a "
    "moment.",
    503,
    {"Retry-After": "2"},
)
UNKNOWN = PlainTextResponse(
    "The store is away: it is not known whether the instance that holds the stream has this message. Its answer may "
    "still come on the stream. If none comes, look with list_memories before you send an add or a deletion again.",
    503,
)
NO_MESSAGE = PlainTextResponse("Could not parse message: send one JSON-RPC 2.0 message in UTF-8.", 400)


class SseStream:
    """GET /mcp/{client_name}/sse/{user_id}: one session, for as long as the client listens."""

    def __init__(
        self,
        sessions: Sessions,
        server: "Server[Any]",
        relay: Relay | None,
        *,
        messages_path: str,
        idle_timeout: float,
    ) -> None:
        self._sessions = sessions
        self._relay = relay
        self._server = server
        self._messages_path = messages_path
        self._idle_timeout = idle_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await send({"type": "http.response.body"})
            return
        caller: Caller = scope["caller"]
        try:
            with self._sessions.open(caller) as session:
                async with self._relay.announced(session) if self._relay else nullcontext():
                    await self._stream(session, scope, receive, send)
        except LimitExceeded as e:
            await PlainTextResponse(str(e), 429, {"Retry-After": "5"})(scope, receive, send)

    async def _stream(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        path = quote(scope.get("root_path", "").rstrip("/") + self._messages_path)
        session.emit("endpoint", f"{path}?session_id={session.id}")
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async with anyio.create_task_group() as tasks:
            with session.scope:
                tasks.start_soon(session.serve, self._server, {})
                tasks.start_soon(_cut_on_disconnect, session, receive)
                await self._pump(session, send)
            tasks.cancel_scope.cancel()

    async def _pump(self, session: Session, send: Send) -> None:
        while (chunk := await session.next_chunk(PING_INTERVAL)) is not None:
            if not chunk:
                if time.monotonic() - session.last_message > self._idle_timeout:
                    break
                session.ping()
                continue
            try:
                async with asyncio.timeout(SEND_TIMEOUT):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                return
            session.sent()
        await send({"type": "http.response.body"})


async def _cut_on_disconnect(session: Session, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    session.scope.cancel()


class SseMessages:
    """POST /mcp/messages/?session_id=…: 202 means that the session has the message; its answer comes on the stream."""

    def __init__(self, sessions: Sessions, relay: Relay | None, max_body: int) -> None:
        self._sessions = sessions
        self._relay = relay
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._respond(scope, receive)
        await response(scope, receive, send)

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        session_id = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [""])[0]
        if not session_id:
            return PlainTextResponse("session_id is required: open a stream with GET first.", 400)
        content_type = dict(scope["headers"]).get(b"content-type", b"")
        if not content_type.lower().startswith(b"application/json"):
            return PlainTextResponse("Send application/json.", 400)
        session_id, principal = session_id.replace("-", "").lower(), scope["principal"]
        session = self._sessions.find(session_id, principal)
        if session is None and self._relay is None:
            return GONE
        try:
            body = await read_body(scope, receive, self._max_body)
        except BodyTooLarge as e:
            return PlainTextResponse(str(e), 413)
        if session is None:
            return await self._forward(session_id, principal, body, scope["request_id"])
        if self._relay:
            self._relay.wake()
        return _deliver(session, body, scope["request_id"])

    async def _forward(self, session_id: str, principal: Principal, body: bytes, request_id: str) -> Response:
        assert self._relay is not None  # noqa: S101 - asked above
        message, error = parse(body)
        if message is None and error is None:
            return NO_MESSAGE
        if len(body) > MAX_BODY:
            return PlainTextResponse(f"Another instance holds the stream: at most {MAX_BODY} bytes are taken.", 413)
        try:
            delivery = await self._relay.forward(session_id, principal, body, request_id)
        except Unsettled as e:
            logger.warning("a message may or may not have been relayed: %s", e)
            return UNKNOWN
        except ServiceError as e:
            logger.warning("a message could not be relayed: %s", e)
            return AWAY
        return ACCEPTED if delivery == "taken" else GONE


def _deliver(session: Session, body: bytes, request_id: str) -> Response:
    message, error = parse(body)
    if error is not None:
        session.push_error(error)
        return ACCEPTED
    if message is None:
        return NO_MESSAGE
    try:
        session.deliver(message, request_id)
    except TooManyCalls as e:
        return PlainTextResponse(str(e), 429, {"Retry-After": "1"})
    except SessionClosed:
        return GONE
    return ACCEPTED
