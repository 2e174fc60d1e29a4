"""The vectors of a large scope that is searched again and again, held in this process at half their size.

As 16-bit integers they are off by a millionth of a cosine. Ranking all of them costs less than asking the search index
and reading what it proposes, and misses nothing. They are kept in step with the snapshots by revision: what a
snapshot holds that is newer is read from its row; what it does not hold is not looked at.
"""

import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreError
from ...scope import Scope
from ..model import Vector
from ..snapshot.snapshot import ScopeSnapshot

MAX_BYTES = 64 * 1024 * 1024  # of all scopes together
FEWEST = 1000  # vectors; whoever lets a scope of fewer be a large one (EXACT_SEARCH_LIMIT) wants to save memory
_ASKED = 3  # questions to a scope before all its rows are read: they cost as much as twenty more through the index
_MOST_MISSING = 1000  # vectors that one question reads, before all are read anew
_REST = 60.0  # seconds between two times that all rows of a scope are read
_SCOPES = 1000  # whose questions are counted
_ROW_BYTES = 300  # what Python needs around one vector
_BLOCK = 256  # vectors ranked at a time: they stay in the cache, and BLAS starts no threads, which would spin
_MOST = 32767  # int16

Read = tuple[str, int, Vector]  # id, rev, unit vector
Fetch = Callable[[Sequence[str]], Iterable[Read]]
Scan = Callable[[], Iterable[Sequence[Read]]]  # all rows, in pages
_log = logging.getLogger(__name__)


class View(NamedTuple):
    """The vectors of one snapshot: row i of `codes` times `scales[i]` is that of `ids[i]`, if `alive[i]`."""

    ids: Sequence[str]
    slots: Mapping[str, int]
    codes: NDArray[np.int16]
    scales: NDArray[np.float32]
    alive: NDArray[np.bool_]

    def nearest(self, queries: NDArray[np.float32], k: int) -> list[str]:
        """About `k` ids for each of `queries` (m x d, L2-normalised)."""
        scores = np.empty((len(queries), len(self.codes)), np.float32)
        for start in range(0, len(self.codes), _BLOCK):
            block = slice(start, start + _BLOCK)
            scores[:, block] = (queries @ self.codes[block].astype(np.float32).T) * self.scales[block]
        scores[:, ~self.alive] = -np.inf
        k = min(k, int(self.alive.sum()))
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k else np.empty((0, 0), np.int64)
        return [self.ids[i] for row in best.tolist() for i in row]

    def vectors(self, ids: Iterable[str]) -> tuple[list[str], NDArray[np.float32]]:
        """Those of `ids` that are here, and their unit vectors."""
        known = [(id_, slot) for id_ in ids if (slot := self.slots.get(id_)) is not None and self.alive[slot]]
        at = [slot for _, slot in known]
        return [id_ for id_, _ in known], self.codes[at].astype(np.float32) * self.scales[at, None]


class _Resident:
    """Of one scope and model. A slot is written once, so that views need no lock."""

    def __init__(self, model: str, size: int, room: int) -> None:
        self.model = model
        self.size = size
        self.lock = threading.Lock()
        self._codes = np.empty((room, size), np.int16)
        self._scales = np.empty(room, np.float32)
        self._ids: list[str] = []
        self._slots: dict[str, int] = {}
        self._revs: dict[str, int] = {}
        self._view: tuple[weakref.ref[ScopeSnapshot], View] | None = None

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + _ROW_BYTES * len(self._codes)

    def put(self, read: Sequence[Read]) -> None:
        """Take in vectors, each in place of an older one of its id."""
        read = [each for each in read if each[2].size == self.size]
        if not read:
            return
        first, count = len(self._ids), len(read)
        if first + count > len(self._codes):
            room = (first + count) * 5 // 4
            self._codes = np.concatenate([self._codes[:first], np.empty((room - first, self.size), np.int16)])
            self._scales = np.concatenate([self._scales[:first], np.empty(room - first, np.float32)])
        vectors = np.array([vector for *_, vector in read], np.float32)
        scales = np.maximum(np.abs(vectors).max(axis=1), np.finfo(np.float32).tiny) / _MOST
        self._codes[first : first + count] = np.rint(vectors / scales[:, None])
        self._scales[first : first + count] = scales
        for slot, (id_, rev, _) in enumerate(read, first):
            self._ids.append(id_)
            self._slots[id_], self._revs[id_] = slot, rev
        self._view = None

    def view(self, snapshot: ScopeSnapshot, fetch: Fetch) -> View | None:
        """The vectors of `snapshot`; None if too many of them are missing."""
        with self.lock:
            if self._view is None or self._view[0]() is not snapshot:
                mine = {m.id: m for m in snapshot.memories.values() if m.vector_model == self.model}
                missing = [id_ for id_, m in mine.items() if self._revs.get(id_, -1) < m.rev]
                if len(missing) > _MOST_MISSING or len(mine) < FEWEST:
                    return None
                self._take_in(missing, snapshot, fetch)
                self._compact(mine)
                self._view = weakref.ref(snapshot), self._seen(mine)
            return self._view[1]

    def _take_in(self, missing: Sequence[str], snapshot: ScopeSnapshot, fetch: Fetch) -> None:
        held = [(id_, m.rev, m.vector) for id_ in missing if (m := snapshot.memories[id_]).vector is not None]
        self.put(
            [(id_, rev, vector / (np.linalg.norm(vector) or 1)) for id_, rev, vector in held if vector is not None]
        )
        absent = [id_ for id_ in missing if snapshot.memories[id_].vector is None]
        if absent:
            self.put(list(fetch(absent)))

    def _seen(self, mine: Iterable[str]) -> View:
        count = len(self._ids)
        alive = np.zeros(count, np.bool_)
        alive[[slot for id_ in mine if (slot := self._slots.get(id_)) is not None]] = True
        return View(self._ids, self._slots, self._codes[:count], self._scales[:count], alive)

    def _compact(self, mine: Iterable[str]) -> None:
        slots = [(id_, slot) for id_ in mine if (slot := self._slots.get(id_)) is not None]
        if len(self._ids) <= 2 * len(slots):
            return
        at = [slot for _, slot in slots]
        self._codes, self._scales = self._codes[at], self._scales[at]
        self._ids = [id_ for id_, _ in slots]
        self._slots = {id_: slot for slot, id_ in enumerate(self._ids)}
        self._revs = {id_: self._revs[id_] for id_ in self._ids}


class ResidentVectors:
    """Of all scopes of the process, within MAX_BYTES, the least recently used forgotten first. Thread-safe."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: OrderedDict[Scope, _Resident] = OrderedDict()
        self._asked: OrderedDict[Scope, tuple[int, float]] = OrderedDict()  # how often, and not to be read before
        self._reading = threading.Lock()  # one scope at a time; never waited for

    def view(self, snapshot: ScopeSnapshot, model: str, size: int, fetch: Fetch, scan: Scan) -> View | None:
        """The vectors of `snapshot`, if they are here. Else they will be, once the scope was asked about often enough:
        `scan` is called on a thread of its own. Raises what `fetch` raises."""
        if snapshot.seq < 0 or len(snapshot.memories) < FEWEST:  # below 0: a state that may never come to be
            return None
        with self._lock:
            resident = self._held.get(snapshot.scope)
            if resident is not None:
                self._held.move_to_end(snapshot.scope)
        if resident is not None and (resident.model, resident.size) == (model, size):
            view = resident.view(snapshot, fetch)
            if view is not None:
                self._trim()
                return view
        self._wanted(snapshot, _Resident(model, size, 0), scan)
        return None

    def _wanted(self, snapshot: ScopeSnapshot, empty: _Resident, scan: Scan) -> None:
        scope, now = snapshot.scope, time.monotonic()
        with self._lock:
            asked, not_before = self._asked.pop(scope, (0, 0.0))
            self._asked[scope] = asked + 1, not_before
            while len(self._asked) > _SCOPES:
                self._asked.popitem(last=False)
        fits = len(snapshot.memories) * (2 * empty.size + _ROW_BYTES) <= self._max_bytes
        if not fits or asked + 1 < _ASKED or now < not_before or not self._reading.acquire(blocking=False):
            return
        try:
            room = len(snapshot.memories) * 9 // 8
            work = (scope, _Resident(empty.model, empty.size, room), scan)
            threading.Thread(target=self._read, args=work, daemon=True, name="resident-vectors").start()
        except BaseException:
            self._reading.release()
            raise

    def _read(self, scope: Scope, resident: _Resident, scan: Scan) -> None:
        try:
            for page in scan():
                resident.put(page)
            with self._lock:
                self._held[scope] = resident
                self._held.move_to_end(scope)
            self._trim()
        except StoreError as e:
            _log.warning("the vectors of a scope could not be read, so the search index goes on answering: %s", e)
        finally:
            with self._lock:
                self._asked[scope] = 0, time.monotonic() + _REST
            self._reading.release()

    def _trim(self) -> None:
        with self._lock:
            held = sum(resident.nbytes for resident in self._held.values())
            while held > self._max_bytes and self._held:
                held -= self._held.popitem(last=False)[1].nbytes
