"""The vectors that matter to a question about a large scope, whose snapshot holds texts only.

The snapshot is exact, so it tells what is alive, and what was written so lately that the search index cannot know it.
Those are looked at one by one; the index proposes from the rest; and every vector comes from the rows.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...scope import Scope
from ..client.requests import StoredRow
from ..client.sdk_client import Gateway
from ..commit.rows import ScopeRows
from ..model import Vector
from ..snapshot.snapshot import CLOCKS_APART, ScopeSnapshot
from ..snapshot.vectors import unit
from .resident_vectors import Read, ResidentVectors
from .search_index import MOST_EXCLUDED, SearchIndex

LAG_MS = 60_000  # the index is behind by under 3 s in 99 % of cases, and its replicas by a little more
_RECENT = 1000  # memories of the lag window that are looked at one by one; with more of them, all rows are
_VECTOR_BYTES = 32 * 1024 * 1024
_ENTRY_BYTES = 500  # what Python needs around one vector
_ALL_SECONDS = 60.0  # for all rows of a scope, with nobody waiting
_COLUMNS = ("rev", "model", "vector")

Matrix = tuple[Sequence[str], NDArray[np.float32]]


class VectorCache:
    """Unit vectors by (scope, id, rev), the least recently used forgotten first. Any thread may use it."""

    def __init__(self, max_bytes: int = _VECTOR_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._held: OrderedDict[tuple[Scope, str, int], Vector] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, scope: Scope, revs: Mapping[str, int]) -> dict[str, Vector]:
        """Those of `revs` (rev by id) that are known."""
        found = {}
        with self._lock:
            for id_, rev in revs.items():
                vector = self._held.get((scope, id_, rev))
                if vector is not None:
                    self._held.move_to_end((scope, id_, rev))
                    found[id_] = vector
        return found

    def put(self, scope: Scope, id_: str, rev: int, vector: Vector) -> None:
        with self._lock:
            if (scope, id_, rev) not in self._held:
                self._bytes += _ENTRY_BYTES + vector.nbytes
            self._held[scope, id_, rev] = vector
            while self._bytes > self._max_bytes:
                self._bytes -= _ENTRY_BYTES + self._held.popitem(last=False)[1].nbytes


class Candidates:
    """Of one scope."""

    def __init__(
        self,
        gateway: Gateway,
        rows: ScopeRows,
        scope: Scope,
        index: SearchIndex,
        vectors: VectorCache,
        resident: ResidentVectors,
    ) -> None:
        self._gateway = gateway
        self._rows = rows
        self._scope = scope
        self._index = index
        self._vectors = vectors
        self._resident = resident

    def of(
        self,
        snapshot: ScopeSnapshot,
        queries: NDArray[np.float32],
        model: str,
        k: int,
        also: Collection[str],
        deadline: float | None,
    ) -> Matrix:
        """See ScopeStore.candidates."""
        if snapshot.with_vectors:
            return snapshot.matrix(model)
        view = self._resident.view(
            snapshot,
            model,
            queries.shape[1],
            lambda ids: self._read_rows(ids, model, deadline),
            lambda: self._all(model),
        )
        if view is not None:
            found, matrix = view.vectors(dict.fromkeys([*also, *view.nearest(queries, k)]))
            matrix.flags.writeable = False
            return found, matrix
        alive = _lately(snapshot, [(row.rev, row.written_at, row.id) for row in snapshot.rows.values()], _RECENT)
        dead = _lately(snapshot, [(t.rev, t.at, i) for i, t in snapshot.head_state.tombstones.items()], MOST_EXCLUDED)
        wanted = dict.fromkeys(also)
        if alive is None or dead is None:
            proposed = self._scanned(snapshot, queries, model, k, deadline)
        else:
            wanted.update(dict.fromkeys(alive))
            proposed = self._proposed(snapshot, queries, model, k, {*alive, *dead}, deadline)
        wanted.update(dict.fromkeys(proposed))
        ids = [id_ for id_ in wanted if id_ in snapshot.memories and snapshot.memories[id_].vector_model == model]
        return self._matrix(snapshot, ids, model, queries.shape[1], deadline)

    def _proposed(
        self,
        snapshot: ScopeSnapshot,
        queries: NDArray[np.float32],
        model: str,
        k: int,
        without: Collection[str],
        deadline: float | None,
    ) -> Iterable[str]:
        """What the index knows of old, or else the rows."""
        found: list[str] = []
        for query in queries:
            nearest = self._index.nearest(
                self._scope, snapshot.epoch, model, query, k, without=without, deadline=deadline
            )
            if nearest is None:
                return self._scanned(snapshot, queries, model, k, deadline)
            found += nearest
        return found

    def _matrix(
        self, snapshot: ScopeSnapshot, ids: Sequence[str], model: str, size: int, deadline: float | None
    ) -> Matrix:
        known = {id_: unit(vector) for id_ in ids if (vector := snapshot.memories[id_].vector) is not None}
        revs = {id_: snapshot.memories[id_].rev for id_ in ids if id_ not in known}
        known.update(self._vectors.get(self._scope, revs))
        missing = [id_ for id_ in ids if id_ not in known]
        if missing:
            for id_, rev, vector in self._read_rows(missing, model, deadline):
                known[id_] = vector
                self._vectors.put(self._scope, id_, rev, vector)
        found = [id_ for id_ in ids if id_ in known and known[id_].size == size]
        matrix = np.array([known[id_] for id_ in found], np.float32).reshape(len(found), size)
        matrix.flags.writeable = False
        return found, matrix

    def _read_rows(self, ids: Sequence[str], model: str, deadline: float | None) -> Iterable[Read]:
        keys = [self._rows.memory_key(id_) for id_ in ids]
        return _read(self._gateway.get_many(self._rows.tables.memories, keys, _COLUMNS, deadline=deadline), model)

    def _all(self, model: str) -> Iterable[Sequence[Read]]:
        """Every row's vector, page by page."""
        deadline = time.monotonic() + _ALL_SECONDS
        for page in self._gateway.pages(self._rows.all_memories(_COLUMNS), deadline=deadline):
            yield list(_read(page, model))

    def _scanned(
        self, snapshot: ScopeSnapshot, queries: NDArray[np.float32], model: str, k: int, deadline: float | None
    ) -> Iterable[str]:
        """What the index would propose, from the rows themselves: slow, exact, and held a page at a time."""
        best: list[list[tuple[float, str]]] = [[] for _ in queries]
        size = queries.shape[1]
        for page in self._gateway.pages(self._rows.all_memories(_COLUMNS), deadline=deadline):
            read = [(id_, v) for id_, _, v in _read(page, model) if id_ in snapshot.memories and v.size == size]
            if not read:
                continue
            near = queries @ np.array([vector for _, vector in read], np.float32).T
            for row, kept in zip(near, best, strict=True):
                kept += [(float(row[i]), read[i][0]) for i in np.argsort(-row)[:k]]
                kept.sort(reverse=True)
                del kept[k:]
        return [id_ for kept in best for _, id_ in kept]


def _lately(snapshot: ScopeSnapshot, written: Sequence[tuple[int, int, str]], most: int) -> list[str] | None:
    """Ids of those of `written` (rev, ms, id) that the index may not know yet as they are; None if that are too many.

    Counted back from now and from the scope's last commit, whichever is earlier by the clocks at hand: whoever wrote
    that may have had a slow clock. Of more than `most` that are recent by its clock alone, the newest.
    """
    now = time.time_ns() // 1_000_000
    since, until = min(now, snapshot.head_state.at) - LAG_MS, now + CLOCKS_APART
    lately = [each for each in written if since <= each[1] <= until]
    if len(lately) > most:
        if sum(at >= now - LAG_MS for _, at, _ in lately) > most:
            return None
        lately = sorted(lately)[-most:]
    return [id_ for *_, id_ in lately]


def _read(rows: Iterable[StoredRow], model: str) -> Iterable[Read]:
    for row in rows:
        blob = row.cells.get("vector")
        if blob is not None and row.cells.get("model") == model:
            yield row["memory_id"], row.cells["rev"], unit(np.frombuffer(blob, "<f4").astype(np.float32, copy=False))
