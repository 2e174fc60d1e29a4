"""The relay's rows in the store: what is written where, and how each answer that gets lost is settled.

("stream", digest of a session id, 0): instance, owner, at.
("inbox", instance, number): state (new → taken | gone | withdrawn), stream, body, request, at.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import anyio
import anyio.to_thread

from ....errors import ServiceError, StoreUnavailable

logger = logging.getLogger(__name__)
T = TypeVar("T")

PATIENCE = 2.0  # seconds a message waits to be claimed
LOOK = 0.04  # seconds between looks whether it was
DEADLINE = 10.0  # seconds of one request to the store
ANNOUNCE = 3.0  # seconds that a new stream may wait for the store
UNCLEAR = 15.0  # seconds to find out what became of a message while the store is away
SLOW = 1.0  # seconds
STALE = 30_000  # ms; an older message is not run any more: whoever sent it has given up
STREAM_LIFE = 48 * 3_600_000  # ms until the row of a stream is taken for a dead instance's
MAX_BODY = 2_000_000  # bytes; a column of Tablestore holds 2 MB

Delivery = Literal["taken", "gone"]
Claim = Literal["taken", "gone"]  # what a holder may make of a message
Written = Literal["taken", "gone", "withdrawn"]
State = Literal["new", "taken", "gone", "withdrawn", "away"]  # away: there is no such row
Columns = Mapping[str, Any]


class Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def columns(self) -> Columns: ...


class Rows(Protocol):
    """What the relay needs of store/session_rows.py."""

    def create(self, kind: str, id_: str, n: int, columns: Columns, *, deadline: float) -> bool: ...
    def put(self, kind: str, id_: str, n: int, columns: Columns, *, deadline: float) -> None: ...
    def change(
        self, kind: str, id_: str, n: int, columns: Columns, *, where: str, was: str | int, deadline: float
    ) -> bool: ...
    def get(self, kind: str, id_: str, n: int, *, deadline: float) -> Row | None: ...
    def list(self, kind: str, id_: str | None = None, *, deadline: float) -> Sequence[Row]: ...
    def delete(self, kind: str, id_: str, *ns: int, deadline: float) -> None: ...


class Unsettled(StoreUnavailable):
    """The store was away for so long that nobody here knows what became of a message."""


class RelayStore:
    """The relay's requests to the store, on threads of their own. `rows` is called there too, at first need."""

    def __init__(self, rows: Callable[[], Rows]) -> None:
        self._rows = rows
        self._threads = anyio.CapacityLimiter(16)

    async def find(self, stream: str) -> Row | None:
        """The row of a stream. Raises a StoreError."""
        return await self._thread(lambda: self._rows().get("stream", stream, 0, deadline=_soon()))

    async def inbox(self, instance: str) -> Sequence[Row]:
        """What waits for `instance`, oldest first; nothing while the store is away."""
        rows = await self._try(lambda: self._rows().list("inbox", instance, deadline=_soon()))
        if rows is None:
            await anyio.sleep(SLOW)
        return rows or ()

    async def put(self, kind: str, id_: str, n: int, columns: Columns) -> bool:
        """Write a row; False if the store is away."""

        def write() -> bool:
            self._rows().put(kind, id_, n, columns, deadline=time.monotonic() + ANNOUNCE)
            return True

        return bool(await self._try(write))

    async def remove(self, kind: str, id_: str, n: int) -> None:
        """Delete a row, if the store can be reached: the sweep finds it else."""
        await self._try(lambda: self._rows().delete(kind, id_, n, deadline=_soon()))

    async def claim(self, row: Row, state: Claim) -> Delivery | Literal["withdrawn"]:
        """Compare and set: from "new" to `state`. What the message is from now on, which may be what its sender made of
        it. Answers that get lost are settled by reading, again and again. Raises Unsettled if that cannot be done
        within UNCLEAR: then its sender may have been told anything."""
        ends = time.monotonic() + UNCLEAR
        while True:
            settled = await self._moved(row.id, row.n, state) or await self._state(row.id, row.n)
            # The sender removes what it has seen to be claimed, and nobody else does: so what is away was claimed.
            if settled == "away":
                return state
            if settled is not None and settled != "new":
                return settled
            if time.monotonic() > ends:
                raise Unsettled("it is not known whether a message was claimed")
            await anyio.sleep(LOOK)

    async def hand_over(self, instance: str, columns: Columns) -> Delivery:
        """Put a message into an inbox, and see what becomes of it. It is withdrawn when PATIENCE is over. Raises
        Unsettled."""
        n = _number()
        if not await self._surely_created(instance, n, columns):
            return "gone"
        delivery, withdrawn = await self._awaited(instance, n)
        if not withdrawn:
            await self.remove("inbox", instance, n)
        return delivery

    async def _surely_created(self, instance: str, n: int, columns: Columns) -> bool:
        """Whether the message is in the inbox. If not, it never will be: a write whose answer got lost may still be on
        its way, so its place is taken first. Raises Unsettled if that cannot be done either."""

        def create(columns: Columns) -> bool:
            return self._rows().create("inbox", instance, n, columns, deadline=_soon())

        try:
            return await self._thread(lambda: create(columns))
        except ServiceError:
            pass
        try:
            return not await self._thread(lambda: create({**columns, "state": "withdrawn"}))
        except ServiceError as e:
            raise Unsettled(f"it is not known whether the message was handed over: {e}") from e

    async def _awaited(self, instance: str, n: int) -> tuple[Delivery, bool]:
        """The message's fate, and whether it had to be withdrawn: then the row stays, for its holder to see. Raises
        Unsettled: whatever the store did not answer may have happened."""
        ends = time.monotonic() + PATIENCE
        while True:
            state = await self._state(instance, n)
            if state == "new" and time.monotonic() > ends:
                state = await self._moved(instance, n, "withdrawn")  # if that did not win, the next look tells who did
            if state is not None and state != "new":
                return ("taken" if state == "taken" else "gone"), state == "withdrawn"
            if time.monotonic() > ends + UNCLEAR:
                raise Unsettled("it is not known whether the message was claimed")
            await anyio.sleep(LOOK)

    async def _state(self, instance: str, n: int) -> State | None:
        """What a message is now; None if the store does not say."""
        try:
            row = await self._thread(lambda: self._rows().get("inbox", instance, n, deadline=_soon()))
        except ServiceError:
            return None
        state: State = "away" if row is None else row.columns["state"]
        return state

    async def _moved(self, instance: str, n: int, state: Written) -> Written | None:
        """`state`, if the message was "new" and surely is that now. Else only `_state` knows."""

        def change() -> bool:
            columns = {"state": state}
            return self._rows().change("inbox", instance, n, columns, where="state", was="new", deadline=_soon())

        try:
            return state if await self._thread(change) else None
        except ServiceError:
            return None

    async def sweep(self) -> None:
        """Delete what dead instances left."""
        await self._try(self._sweep)

    def _sweep(self) -> None:
        for kind, life in (("stream", STREAM_LIFE), ("inbox", 10 * STALE)):
            for row in self._rows().list(kind, deadline=_soon()):
                if now() - int(row.columns["at"]) > life:
                    self._rows().delete(kind, row.id, row.n, deadline=_soon())

    async def _try(self, work: Callable[[], T]) -> T | None:
        """`work()`; None if the store is away, which the log says."""
        try:
            return await self._thread(work)
        except ServiceError as e:
            logger.warning("the relay could not reach the store: %s", e)
            return None

    async def _thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._threads)


def now() -> int:
    """Milliseconds since the epoch."""
    return round(time.time() * 1000)


def _soon() -> float:
    return time.monotonic() + DEADLINE


def _number() -> int:
    """Later messages have higher ones, and two never the same."""
    return (now() << 20) | secrets.randbits(20)
