"""SSE sessions: what is open, whose it is, what waits to be sent. No HTTP in here; see sse.py."""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import anyio
from mcp.server import Server
from mcp.server.connection import Connection
from mcp.server.runner import serve_connection
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCRequest, JSONRPCResponse

from ....errors import LimitExceeded
from ....settings import Settings
from ...caller import Caller, Principal

logger = logging.getLogger(__name__)

BUSY = -32000  # JSON-RPC: first of the codes that a server may define
MAX_WAITING = 4_000_000  # bytes a client may leave unread, beside what the kernel holds
MAX_WAITING_IN_ALL = 64_000_000  # bytes that all clients together may leave unread
_MUCH = 64_000  # bytes; a stream with less unread is no reason to look at the others


class TooManyCalls(LimitExceeded):
    """More unanswered calls on this session than MAX_CALLS_PER_SESSION."""


class SessionClosed(Exception):
    """The stream ended while the message was on its way; nothing happens with it."""


class Session:
    """One SSE stream and the MCP connection behind it. Belongs to the principal that opened it."""

    def __init__(self, caller: Caller, *, max_calls: int, crowded: Callable[[], None]) -> None:
        """`crowded` is called whenever much is unread."""
        self.id = uuid4().hex
        self.digest = digest(self.id)
        self.caller = caller
        self.last_message = time.monotonic()
        self._max_calls = max_calls
        self._open_calls = 0
        self._from_client = _Inbound(max_calls + 8)
        self._events: deque[bytes] = deque()
        self._waiting = 0
        self._crowded = crowded
        self._alarm: asyncio.Future[None] | None = None  # what the stream waits for, while it has nothing to send
        self._ending = False
        self._scope = anyio.CancelScope()

    # From the client

    def deliver(self, message: JSONRPCMessage, request_id: str) -> None:
        """Hand one message of the client to the server. Raises TooManyCalls or SessionClosed; then nothing happens."""
        metadata = ServerMessageMetadata(
            request_context=replace(self.caller, request_id=request_id), on_request_unanswered=self._unanswered
        )
        is_call = isinstance(message, JSONRPCRequest)
        if is_call and self._open_calls >= self._max_calls:
            raise TooManyCalls(
                f"{self._open_calls} calls of this session are unanswered; nothing was done with this one.",
                setting="MAX_CALLS_PER_SESSION",
            )
        self._from_client.put(SessionMessage(message, metadata))
        self._open_calls += is_call
        self.last_message = time.monotonic()

    def deliver_or_answer(self, message: JSONRPCMessage, request_id: str) -> None:
        """Like deliver, where nobody waits to hear that it was refused: the stream says so, if it still can."""
        try:
            self.deliver(message, request_id)
        except TooManyCalls as e:
            if isinstance(message, JSONRPCRequest):
                self.push_error(JSONRPCError(jsonrpc="2.0", id=message.id, error=ErrorData(code=BUSY, message=str(e))))
        except SessionClosed:
            return

    async def _unanswered(self) -> None:
        self._call_ended()

    def _call_ended(self) -> None:
        self._open_calls -= 1
        if self._ending:
            self._wake()

    # To the client

    def push(self, message: JSONRPCMessage) -> None:
        """Queue one message for the client. A client that leaves too much unread loses its stream."""
        self.emit("message", message.model_dump_json(by_alias=True, exclude_unset=True))
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._call_ended()

    def push_error(self, error: JSONRPCError) -> None:
        """Answer a request that never became a call."""
        self.emit("message", error.model_dump_json(by_alias=True, exclude_unset=True))

    def emit(self, event: str, data: str) -> None:
        self._queue(f"event: {event}\r\ndata: {_one_line(data)}\r\n\r\n".encode())

    def ping(self) -> None:
        self._queue(b": ping\r\n\r\n")

    def _queue(self, chunk: bytes) -> None:
        self._waiting += len(chunk)
        if self._waiting > MAX_WAITING + len(chunk):  # one large result alone is no reason
            logger.warning("a stream was cut: its client does not read")
            self._scope.cancel()
            return
        self._events.append(chunk)
        self._wake()
        if self._waiting > _MUCH:
            self._crowded()

    @property
    def waiting(self) -> int:
        """Bytes that its client has not taken yet."""
        return self._waiting

    async def next_chunk(self, patience: float) -> bytes | None:
        """The next bytes to send; b"" if there are none for `patience` seconds; None when the stream shall end."""
        if not self._events:
            if self._ending and self._open_calls <= 0:
                return None
            await self._something_to_do(patience)
        return self._events[0] if self._events else b""

    async def _something_to_do(self, patience: float) -> None:
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(patience, self._wake)
        try:
            await self._alarm
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def sent(self) -> None:
        """The chunk that next_chunk gave is on its way."""
        self._waiting -= len(self._events.popleft())

    # The whole

    def end(self) -> None:
        """Close the stream as soon as the running calls are answered."""
        self._ending = True
        self._wake()

    async def serve(self, server: "Server[Any]", lifespan_state: Any) -> None:
        """Drive the MCP connection until the stream ends."""
        dispatcher: JSONRPCDispatcher[Any] = JSONRPCDispatcher(
            self._from_client, _Outbound(self), inline_methods=frozenset({"initialize"})
        )
        connection = Connection.for_loop(dispatcher)
        # Born ready: an EventSource that reconnects, after a restart or a cut stream, never initializes again. Without
        # this every later call on it fails forever (TypeScript SDK up to at least 1.32).
        connection.initialized.set()
        await serve_connection(server, dispatcher, connection=connection, lifespan_state=lifespan_state)

    @property
    def scope(self) -> anyio.CancelScope:
        """Cancelled when the stream is to be cut."""
        return self._scope


class _Stream:
    """What the dispatcher asks of either stream beside reading or writing."""

    async def aclose(self) -> None:
        return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        await self.aclose()
        return None


class _Inbound(_Stream):
    """The dispatcher's read stream. One of anyio's would let the event loop go round once more for each message."""

    def __init__(self, most: int) -> None:
        """`most`: messages that the dispatcher has not taken yet."""
        self._most = most
        self._messages: deque[SessionMessage] = deque()
        self._alarm: asyncio.Future[None] | None = None
        self._closed = False

    def put(self, message: SessionMessage) -> None:
        """Raises TooManyCalls or SessionClosed."""
        if self._closed:
            raise SessionClosed
        if len(self._messages) >= self._most:
            raise TooManyCalls("Too many messages at once on this session.", setting="MAX_CALLS_PER_SESSION")
        self._messages.append(message)
        if self._alarm is not None and not self._alarm.done():
            self._alarm.set_result(None)

    def receive_nowait(self) -> SessionMessage:
        """Raises WouldBlock or EndOfStream."""
        if self._messages:
            return self._messages.popleft()
        raise anyio.EndOfStream if self._closed else anyio.WouldBlock

    async def receive(self) -> SessionMessage:
        while True:
            with contextlib.suppress(anyio.WouldBlock):
                return self.receive_nowait()
            self._alarm = asyncio.get_running_loop().create_future()
            await self._alarm

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        self._closed = True


class _Outbound(_Stream):
    """The dispatcher's write stream. Never waits: a slow reader is the session's problem, not the calls'."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def send(self, item: SessionMessage, /) -> None:
        self._session.push(item.message)


class Sessions:
    """All open sessions of this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._by_digest: dict[str, Session] = {}
        self._per_user: Counter[str] = Counter()
        self._draining = False

    @contextlib.contextmanager
    def open(self, caller: Caller) -> Iterator[Session]:
        """A new session, for as long as the block runs. Raises LimitExceeded."""
        user = caller.scope.user_id
        if self._draining or len(self._by_digest) >= self._settings.max_sessions:
            raise LimitExceeded("This server holds all the streams it may hold.", setting="MAX_SESSIONS")
        if self._per_user[user] >= self._settings.max_sessions_per_user:
            raise LimitExceeded("This user has too many streams open.", setting="MAX_SESSIONS_PER_USER")
        session = Session(caller, max_calls=self._settings.max_calls_per_session, crowded=self._make_room)
        self._by_digest[session.digest] = session
        self._per_user[user] += 1
        try:
            yield session
        finally:
            del self._by_digest[session.digest]
            self._per_user[user] -= 1
            if not self._per_user[user]:
                del self._per_user[user]

    def _make_room(self) -> None:
        if sum(session.waiting for session in self._by_digest.values()) > MAX_WAITING_IN_ALL:
            logger.warning("a stream was cut: of all that clients do not read, most is its client's")
            max(self._by_digest.values(), key=lambda session: session.waiting).scope.cancel()

    def find(self, session_id: str, principal: Principal) -> Session | None:
        """The session, if it is open and this principal's. Someone else's does not exist: an id is no credential."""
        session = self._by_digest.get(digest(session_id))
        return session if session is not None and session.caller.principal == principal else None

    def by_digest(self, session_digest: str) -> Session | None:
        """The session whose id has this digest. Whoever asks has checked its owner."""
        return self._by_digest.get(session_digest)

    def drain(self) -> None:
        """End every stream once its running calls are answered; open no more."""
        self._draining = True
        for session in self._by_digest.values():
            session.end()

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_digest.values()))

    def __len__(self) -> int:
        return len(self._by_digest)


def digest(session_id: str) -> str:
    """What stands for a session id outside its client and this process."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def _one_line(json_text: str) -> str:
    # Legal inside JSON strings, but Python SSE clients (httpx's line decoder) split lines there, and lose the message.
    for character in "\x85\u2028\u2029":
        if character in json_text:
            json_text = json_text.replace(character, f"\\u{ord(character):04x}")
    return json_text
