"""The relay's rows in the store: what is written where, and how each answer that gets lost is settled.

("stream", digest of a session id, 0): instance, owner, at.
("inbox", instance, number): state (new → taken | gone | withdrawn), stream, body, request, at.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import anyio
import anyio.to_thread

from ..errors import ServiceError

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

Fate = Literal["taken", "gone"]
Columns = Mapping[str, Any]


class Row(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def columns(self) -> Columns: ...


class Rows(Protocol):
    """What the relay needs of store/sessions.py."""

    def create(self, kind: str, id_: str, n: int, columns: Columns, *, deadline: float) -> bool: ...
    def put(self, kind: str, id_: str, n: int, columns: Columns, *, deadline: float) -> None: ...
    def change(
        self, kind: str, id_: str, n: int, columns: Columns, *, where: str, was: str | int, deadline: float
    ) -> bool: ...
    def get(self, kind: str, id_: str, n: int, *, deadline: float) -> Row | None: ...
    def list(self, kind: str, id_: str | None = None, *, deadline: float) -> Sequence[Row]: ...
    def delete(self, kind: str, id_: str, *ns: int, deadline: float) -> None: ...


class Desk:
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

    async def move(self, row: Row, state: str) -> bool:
        """Compare and set: from "new" to `state`. Whether that won; an answer that got lost is settled by reading."""
        change = partial(self._rows().change, "inbox", row.id, row.n, {"state": state}, where="state", was="new")
        try:
            return await self._thread(lambda: change(deadline=_soon()))
        except ServiceError:
            found = await self._try(lambda: self._rows().get("inbox", row.id, row.n, deadline=_soon()))
            return found is not None and found.columns["state"] == state

    async def hand_over(self, instance: str, columns: Columns) -> Fate:
        """Put a message into an inbox, and see what becomes of it. It is withdrawn when PATIENCE is over. Raises a
        StoreError."""
        n = _number()
        if not await self._surely_created(instance, n, columns):
            return "gone"
        fate, withdrawn = await self._awaited(instance, n)
        if not withdrawn:
            await self.remove("inbox", instance, n)
        return fate

    async def _surely_created(self, instance: str, n: int, columns: Columns) -> bool:
        """Whether the message is in the inbox. If not, it never will be: a write whose answer got lost may still be on
        its way, so its place is taken first."""
        try:
            return await self._thread(lambda: self._rows().create("inbox", instance, n, columns, deadline=_soon()))
        except ServiceError:
            taken = {**columns, "state": "withdrawn"}
            return not await self._thread(lambda: self._rows().create("inbox", instance, n, taken, deadline=_soon()))

    async def _awaited(self, instance: str, n: int) -> tuple[Fate, bool]:
        """The message's fate, and whether it had to be withdrawn: then the row stays, for its holder to see."""
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                row = await self._thread(lambda: self._rows().get("inbox", instance, n, deadline=_soon()))
            except ServiceError:
                if time.monotonic() > ends + UNCLEAR:
                    raise
                await anyio.sleep(LOOK)
                continue
            state = "gone" if row is None else row.columns["state"]
            if row is None or state != "new":
                return ("taken" if state == "taken" else "gone"), state == "withdrawn"
            if time.monotonic() > ends:
                won = await self.move(row, "withdrawn")
                return ("gone" if won else "taken"), won
            await anyio.sleep(LOOK)

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
