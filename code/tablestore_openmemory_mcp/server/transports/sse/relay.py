"""SSE on any number of instances: a POST that lands elsewhere is handed to the instance that holds the stream.

A row "stream" says which instance holds it. The message is put into that instance's inbox as "new"; the holder claims
it by compare-and-set ("taken"), or says that the stream is "gone". If nobody claims it for PATIENCE seconds, it is
"withdrawn", also by compare-and-set: so it runs once or not at all, and the client knows which. A holder that finds a
withdrawn message was too slow, and cuts the stream, so that its client reconnects. While the store answers nobody the
client is told that it is not known (503), and a holder that cannot find out whether it has claimed a message cuts the
stream: whatever was answered, nobody waits for a message that nobody runs.

Reads: an instance that holds a stream reads its inbox every FAST seconds for ACTIVE seconds after any activity, else
every SLOW seconds (3,600 reads an hour, however many streams). An instance without streams reads nothing.
"""

import contextlib
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from ...caller import Principal
from ..messages import parse
from .relay_store import SLOW, STALE, Delivery, RelayStore, Row, Rows, Unsettled, now
from .sessions import Session, Sessions, digest

logger = logging.getLogger(__name__)

FAST, ACTIVE = 0.05, 30.0  # seconds
SWEEP_EVERY = 3_600.0  # seconds
RENEW_EVERY = 12 * 3_600.0  # seconds; long streams say that they live


class Relay:
    """One per process. `rows` is called on worker threads, at first need."""

    def __init__(self, rows: Callable[[], Rows], sessions: Sessions) -> None:
        self._store = RelayStore(rows)
        self._sessions = sessions
        self._instance = secrets.token_hex(16)
        self._announced: dict[str, float] = {}  # stream → when, time.monotonic()
        self._holders: OrderedDict[str, tuple[str, str]] = OrderedDict()  # stream → (instance, owner)
        self._active_at = float("-inf")
        self._wake = anyio.Event()
        self._tasks: TaskGroup | None = None

    # The life of the process

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read the inbox while there are streams. Leaving it waits until the closed ones are taken off the list."""
        reading = anyio.CancelScope()

        async def read_on() -> None:
            with reading:
                await self._read_on()

        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            tasks.start_soon(read_on)
            yield
            self._tasks = None
            reading.cancel()

    def wake(self) -> None:
        """Something happened: look into the inbox often for a while."""
        self._active_at = time.monotonic()
        self._wake.set()

    # The holder's side

    @contextlib.asynccontextmanager
    async def announced(self, session: Session) -> AsyncIterator[None]:
        """While the block runs, every instance can find this session. A store that is away is no reason to refuse the
        stream: it is announced later."""
        await self._announce(session)
        self.wake()
        try:
            yield
        finally:
            self._announced.pop(session.digest, None)
            if self._tasks is not None:  # beside the closing of the stream, which may be a cancellation
                self._tasks.start_soon(self._store.remove, "stream", session.digest, 0)

    async def _announce(self, session: Session) -> None:
        owner = _owner(session.caller.principal)
        columns = {"instance": self._instance, "owner": owner, "at": now()}
        if not await self._store.put("stream", session.digest, 0, columns):
            return
        if self._sessions.by_digest(session.digest) is session:
            self._announced[session.digest] = time.monotonic()
        else:  # closed while the reader announced it again: its removal may have come before this row
            await self._store.remove("stream", session.digest, 0)

    async def _read_on(self) -> None:
        swept = float("-inf")
        while True:
            if len(self._sessions):
                await self._read()
            if len(self._sessions) and time.monotonic() - swept > SWEEP_EVERY:
                swept = time.monotonic()
                await self._store.sweep()
            await self._pause()

    async def _read(self) -> None:
        for session in self._sessions:
            if time.monotonic() - self._announced.get(session.digest, float("-inf")) > RENEW_EVERY:
                await self._announce(session)
        async with anyio.create_task_group() as tasks:
            for messages in _by_stream(await self._store.inbox(self._instance)):
                tasks.start_soon(self._take_all, messages)

    async def _pause(self) -> None:
        self._wake = anyio.Event()
        if not len(self._sessions):
            await self._wake.wait()
        elif time.monotonic() - self._active_at < ACTIVE:
            await anyio.sleep(FAST)
        else:
            with anyio.move_on_after(SLOW):
                await self._wake.wait()

    async def _take_all(self, messages: Sequence[Row]) -> None:
        for row in messages:  # of one stream: in their order
            await self._take(row)

    async def _take(self, row: Row) -> None:
        session = self._sessions.by_digest(str(row.columns["stream"]))
        state, stale = row.columns["state"], now() - int(row.columns["at"]) > STALE
        if stale:  # its sender is gone, or would have removed it
            await self._store.remove("inbox", row.id, row.n)
        elif state == "withdrawn":
            _cut(session, "this instance was too slow to take its message")
        elif state == "new":
            await self._claim(row, session)

    async def _claim(self, row: Row, session: Session | None) -> None:
        try:
            state = await self._store.claim(row, "gone" if session is None else "taken")
        except Unsettled:  # its sender may have heard 202: then the client waits, and has to learn that this is over
            _cut(session, "it is not known whether a message was claimed")
            return
        if state == "withdrawn":
            _cut(session, "this instance was too slow to take its message")
        elif state == "taken" and session is not None:
            self.wake()
            message, error = parse(bytes(row.columns["body"]))
            if message is not None:
                session.deliver_or_answer(message, str(row.columns["request"]))
            elif error is not None:
                session.push_error(error)

    # The other side

    async def forward(self, session_id: str, principal: Principal, body: bytes, request_id: str) -> Delivery:
        """Hand `body`, a JSON-RPC message, to whoever holds the session. "gone": nobody does, or not for this
        principal, or nobody claimed it in time; then it was not and will not be run. Raises Unsettled, or
        another StoreError while nothing was handed over."""
        stream = digest(session_id)
        holder = self._holders.get(stream) or await self._look_up(stream)
        if holder is None or holder[1] != _owner(principal):
            return "gone"
        columns = {"state": "new", "stream": stream, "body": body, "request": request_id, "at": now()}
        # What this instance itself held is closed: whoever asks has looked here first.
        delivery = "gone" if holder[0] == self._instance else await self._store.hand_over(holder[0], columns)
        if delivery == "gone":
            self._holders.pop(stream, None)
            await self._store.remove("stream", stream, 0)
        return delivery

    async def _look_up(self, stream: str) -> tuple[str, str] | None:
        row = await self._store.find(stream)
        if row is None:
            return None
        holder = (str(row.columns["instance"]), str(row.columns["owner"]))
        self._holders[stream] = holder
        while len(self._holders) > 10_000:
            self._holders.popitem(last=False)
        return holder


def _cut(session: Session | None, why: str) -> None:
    if session is not None:
        logger.warning("a stream was cut: %s", why)
        session.scope.cancel()


def _by_stream(rows: Sequence[Row]) -> list[list[Row]]:
    streams: dict[str, list[Row]] = {}
    for row in rows:
        streams.setdefault(str(row.columns["stream"]), []).append(row)
    return list(streams.values())


def _owner(principal: Principal) -> str:
    return hashlib.sha256(repr(principal).encode()).hexdigest()
