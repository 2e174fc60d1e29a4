"""Reading heads: at once while few are read, else those that wait in one request.

Every search and list reads the head of its scope. A read is shared by those who were there before it began, and by
nobody else: so whoever reads sees what was acknowledged before he asked, by whatever process.
"""

import copy
import threading
import time
from collections.abc import Sequence

from ...errors import StoreError, StoreUnavailable
from ..client.requests import MAX_GET_ROWS, Cells, Get, Key
from ..client.sdk_client import PATIENCE, Gateway

AT_ONCE = 8  # requests under way before others wait; a store that answers in 5 ms takes 1,600 a second of them
_MOST_COLUMNS = 100  # of a request, of the 128 that may be named


class _Waiting:
    """One who waits for a head."""

    def __init__(self, key: Key, base: Sequence[str], more: Sequence[str], deadline: float) -> None:
        self.key = key
        self.base = base
        self.more = more
        self.deadline = deadline
        self.woken = threading.Event()  # to read `batch`, or because it was read
        self.batch: list[_Waiting] | None = None
        self.found: Cells | None = None
        self.error: StoreError | None = None


class HeadReads:
    """Of one table. Any thread may use it."""

    def __init__(self, gateway: Gateway, table: str) -> None:
        self._gateway = gateway
        self._table = table
        self._lock = threading.Lock()
        self._under_way = 0
        self._queue: list[_Waiting] = []

    def get(self, key: Key, base: Sequence[str], more: Sequence[str], deadline: float | None) -> Cells | None:
        """The columns `base` of a head, and `more`, unless others wait with whom they would be too many. None: no such
        row. Raises a StoreError."""
        deadline = time.monotonic() + PATIENCE if deadline is None else deadline
        mine = _Waiting(key, base, more, deadline)
        with self._lock:
            if self._under_way < AT_ONCE:
                self._under_way += 1
                mine.batch = [mine]
            else:
                self._queue.append(mine)
        if mine.batch is None and not mine.woken.wait(max(0.0, deadline - time.monotonic())):
            self._give_up(mine)
        if mine.batch is not None:
            try:
                self._read(mine.batch, deadline)
            finally:
                self._next()
        if mine.error is None:
            return mine.found
        if isinstance(mine.error, StoreUnavailable) or mine.batch == [mine]:
            raise copy.copy(mine.error)  # it collects the traceback of each thread that raises it
        return self._gateway.get(
            Get(self._table, key, (*base, *more)), deadline=deadline
        )  # it may be about another row

    def _read(self, batch: list[_Waiting], deadline: float) -> None:
        base = batch[0].base
        more = dict.fromkeys(column for each in batch for column in each.more)
        columns = (*base, *more) if len(base) + len(more) <= _MOST_COLUMNS else tuple(base)
        keys = {tuple(each.key): each.key for each in batch}
        try:
            if len(keys) == 1:
                rows = {key: self._gateway.get(Get(self._table, key, columns), deadline=deadline) for key in keys}
            else:
                found = self._gateway.get_many(self._table, list(keys.values()), columns, deadline=deadline)
                rows = {tuple((name, value) for name, value, *_ in row.key): row.cells for row in found}
            for each in batch:
                each.found = rows.get(tuple(each.key))
        except StoreError as e:
            for each in batch:
                each.error = e
        except BaseException:
            for each in batch:
                each.error = StoreUnavailable("The reader of this memory was interrupted.")
            raise
        finally:
            for each in batch:
                each.woken.set()

    def _next(self) -> None:
        """Let one of those who wait read for as many of them as a request may name."""
        with self._lock:
            if not self._queue:
                self._under_way -= 1
                return
            batch, self._queue = self._queue[:MAX_GET_ROWS], self._queue[MAX_GET_ROWS:]
            reader = max(batch, key=lambda each: each.deadline)  # whose time is the batch's
            reader.batch = batch
            reader.woken.set()

    def _give_up(self, mine: _Waiting) -> None:
        with self._lock:
            if mine.woken.is_set():  # at the last moment: the others of its batch count on it
                return
            if mine in self._queue:
                self._queue.remove(mine)
        raise StoreUnavailable("Tablestore took too long.")
