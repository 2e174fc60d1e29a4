"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: of heads, of bodies' framing, and of every waiting time.

uvicorn 0.54 takes heads of any size with httptools, and waits for ever for the rest of a request. All bytes pass
`data_received`, so that is where they are counted: a head is refused while it is being read. One sweep a second closes
what is late, so a request costs no timer of its own.
"""

import asyncio
import math
from enum import Enum
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ..auth.peers.connection import remembering
from .connections import Connections, Limits, network_of

MAX_HEAD = 65_536  # bytes: the request line and all headers
MAX_TARGET = 8_192  # bytes
MAX_HEADERS = 100
MAX_PIPELINED = 16  # complete requests that wait for the one before them
MAX_FRAMING = 65_536  # bytes of chunk sizes, chunk extensions and trailers, beside FRAMING_RATIO × the body
FRAMING_RATIO = 8  # a body in chunks of one byte takes five more for each

SILENT_TIME = 30.0  # seconds a new connection may say nothing
HEAD_TIME = 20.0  # seconds from a head's first byte to its last
BODY_TIME = 30.0  # seconds of a body, beside what its bytes may take at
BODY_RATE = 8_192  # bytes per second
KEEP_ALIVE = 120  # seconds between two requests; more than balancers wait (60), or they would meet a closed connection
UNREAD_TIME = 120.0  # seconds in which a client must once have taken all that was written
LINGER = 2.0  # seconds that we read on after a refusal: closed at once, the client would see a reset and no answer
LINGER_BYTES = 4_194_304  # that are read then at most
ANSWERED_EARLY = 10.0  # seconds for the rest of a body whose request is answered already

_BATCH = 32  # connections that asyncio accepts in one go, before any of them is counted
_FULL = "This server holds all the connections it may hold; try again in a moment."


class Config(uvicorn.Config):
    """What uvicorn is told for `app`, and the connections that its protocol counts."""

    def __init__(self, app: Any, limits: Limits, *, grace: float = 5.0) -> None:
        """`grace`: seconds that running requests have at the end."""
        self.peers = Connections(limits)
        super().__init__(
            app,
            http=remembering(BoundedProtocol),
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,  # its lines hold session ids
            server_header=False,
            proxy_headers=False,  # or X-Forwarded-For would choose the peer's address, and with it who is local
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=max(1, round(grace)),
            backlog=_BATCH,  # without descriptors left, asyncio also logs this many errors a second (CPython 3.11)
        )


class Reading(Enum):
    """What of a request is being read."""

    NOTHING = "nothing"  # between two requests, or before the first
    HEAD = "head"
    BODY = "body"


class _Refused(Exception):
    """Ends the parsing; `BoundedProtocol._refusal` says why."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What all its requests share is auth.peers.connection's affair."""

    config: Config

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._peers = config.peers
        self._ignored = 0  # bytes after a refusal
        self._address = ""
        self._reading = Reading.NOTHING
        self._waits = True
        self._late_at = math.inf  # the loop's time
        self._read = 0  # bytes since the head, or the body, began
        self._piece = 0  # bytes that are being parsed, not yet in `_read`
        self._body = 0  # bytes of the body itself
        self._ended = 0  # requests read to their end
        self._refusal: tuple[int, str] | None = None
        self._deaf = False  # refused: nothing that still comes is parsed
        self._unread_since = math.inf

    # What connections.Peer asks for

    @property
    def address(self) -> str:
        return self._address

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def cut(self) -> None:
        self._deaf = True
        self.transport.abort()

    def check(self, now: float) -> None:
        if not self.unsent:
            self._unread_since = now
        if now - self._unread_since > UNREAD_TIME or (self._deaf and now > self._late_at):
            self.cut()
        elif self.flow.read_paused:  # the application is behind, not the client
            self._late_at += 1.0
        elif now > self._late_at and not self.transport.is_closing():
            if self._reading is Reading.NOTHING:
                self.transport.close()
            else:
                self._refuse(408, f"The request's {self._reading.value} did not come in time.")

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._unread_since = self.loop.time()
        self._address = network_of(self.client[0]) if self.client else ""
        if self._peers.admit(self):
            self._late_at = self.loop.time() + SILENT_TIME
        else:
            self._deaf = True
            self._write_refusal(503, _FULL, "retry-after: 1\r\n")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._ignored += len(data)
            if self._ignored > LINGER_BYTES:
                self.cut()
            return
        for at in range(0, len(data), MAX_HEAD):
            if self._deaf or self.transport.is_closing():
                return
            self._feed(data[at : at + MAX_HEAD] if len(data) > MAX_HEAD else data)
        self._note()

    def _feed(self, piece: bytes) -> None:
        if self._reading is Reading.NOTHING:
            self._begin(Reading.HEAD, HEAD_TIME)
        was, ended = self._reading, self._ended
        self._piece = len(piece)
        super().data_received(piece)
        if self._deaf or self._reading is not was or self._ended != ended:
            return  # what of the piece came after the change is not counted: one piece at most
        self._read += len(piece)
        if self._reading is Reading.HEAD and self._read > MAX_HEAD:
            self._refuse(431, f"The request's head is too large: at most {MAX_HEAD} bytes are taken.")
        elif self._reading is Reading.BODY and self._read - self._body > MAX_FRAMING + FRAMING_RATIO * self._body:
            self._refuse(400, "The body's chunks and trailers are too much for what they hold.")

    # httptools' callbacks

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._reading is not Reading.HEAD:  # the second of a piece
            self._begin(Reading.HEAD, HEAD_TIME)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            self._fail(414, f"The request's target is too long: at most {MAX_TARGET} bytes are taken.")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading is Reading.BODY:
            return  # a trailer: it must not become a header of a request that was admitted without it
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._fail(431, f"The request has too many headers: at most {MAX_HEADERS} are taken.")

    def on_headers_complete(self) -> None:
        if self._read + self._piece > MAX_HEAD:  # or it surely is not
            head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head > MAX_HEAD:
                self._fail(431, f"The request's head is too large: at most {MAX_HEAD} bytes are taken.")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._fail(400, "Too many requests at once on one connection.")
        super().on_headers_complete()
        self._begin(Reading.BODY, BODY_TIME)

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._body += len(body)
        if not self.cycle.response_complete:
            self._late_at += len(body) / BODY_RATE

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._ended += 1
        self._reading, self._read = Reading.NOTHING, 0
        self._late_at = math.inf

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._reading is Reading.BODY:
            self._late_at = min(self._late_at, self.loop.time() + ANSWERED_EARLY)
        self._note()

    # Refusing

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser failed."""
        status, sentence = self._refusal or (400, msg)
        self._refuse(status, sentence)

    def _fail(self, status: int, sentence: str) -> None:
        self._refusal = status, sentence
        raise _Refused

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer, and close once the client had a chance to read it."""
        self._deaf = True
        self._late_at = self.loop.time() + LINGER
        if not self._answerable:
            self.transport.close()
            return
        if self._serving:  # the application reads the body: it shall take the client for gone
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._write_refusal(status, sentence)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()

    def _write_refusal(self, status: int, sentence: str, headers: str = "") -> None:
        body = sentence.encode()
        head = f"{headers}content-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(STATUS_LINE[status] + f"{head}connection: close\r\n\r\n".encode() + body)

    # Where it is

    @property
    def _serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def _answerable(self) -> bool:
        """Whether the next bytes that the client gets would answer the request that is being read."""
        if self._reading is Reading.BODY:
            return not self.pipeline and not self.cycle.response_started
        return not self._serving

    def _begin(self, reading: Reading, seconds: float) -> None:
        self._reading = reading
        self._late_at = self.loop.time() + seconds
        self._read = self._body = 0

    def _note(self) -> None:
        """Tell whether this connection waits for its client, and since when it is idle."""
        if self._reading is Reading.NOTHING:
            self._late_at = math.inf if self._serving else self.loop.time() + KEEP_ALIVE
        waits = self._deaf or self._reading is not Reading.NOTHING or not self._serving
        if waits != self._waits:
            self._waits = waits
            (self._peers.waits if waits else self._peers.works)(self)
