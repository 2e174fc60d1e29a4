"""What this process has worked out about a scope's texts, kept in step with the snapshots it sees."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..scope import Scope
from ..store.model import Memory, Snapshot
from .ranking import LexicalIndex, Scores
from .text import likeness_key

Matrix = tuple[Sequence[str], NDArray[np.float32]]  # ids and their L2-normalised vectors: ScopeStore.candidates


class ScopeIndex:
    """Thread-safe. Every question names the snapshot that it is about."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lexical = LexicalIndex()
        self._keys: dict[str, tuple[Memory, str]] = {}
        self._snapshot: Snapshot | None = None

    def bm25(self, snapshot: Snapshot, query: str, ids: Sequence[str]) -> Scores:
        """The BM25 score of `query` for each of `ids`; 0 where no term matches."""
        with self._lock:
            self._follow(snapshot)
            return self._lexical.scores(query, ids)

    def alike(self, snapshot: Snapshot, among: Iterable[Memory]) -> dict[str, Memory]:
        """The memories `among` those of the snapshot by `likeness_key`; the first of those that share one."""
        with self._lock:
            self._follow(snapshot)
            found: dict[str, Memory] = {}
            for memory in among:
                found.setdefault(self._keys[memory.id][1], memory)
            return found

    def _follow(self, snapshot: Snapshot) -> None:
        if snapshot is self._snapshot:
            return
        self._lexical.follow(snapshot.memories)
        known = self._keys
        self._keys = {
            i: known[i] if i in known and known[i][0] is m else (m, likeness_key(m.text))
            for i, m in snapshot.memories.items()
        }
        self._snapshot = snapshot


class ScopeIndexes:
    """The index of each scope, the least recently used forgotten first. Thread-safe."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._indexes: OrderedDict[Scope, ScopeIndex] = OrderedDict()

    def of(self, scope: Scope) -> ScopeIndex:
        with self._lock:
            index = self._indexes.setdefault(scope, ScopeIndex())
            self._indexes.move_to_end(scope)
            while len(self._indexes) > self._most:
                self._indexes.popitem(last=False)
            return index

    def forget(self, scope: Scope) -> None:
        with self._lock:
            self._indexes.pop(scope, None)


def cosines(found: Matrix, vectors: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float64]:
    """The cosine of each of `vectors` (k x d, normalised) with each of `ids`: k x n; NaN where `found` lacks it."""
    held, matrix = found
    result = np.full((len(vectors), len(ids)), np.nan)
    if len(held):
        place = {memory_id: n for n, memory_id in enumerate(held)}
        columns = np.array([place.get(i, -1) for i in ids], np.int64)
        known = columns >= 0
        result[:, known] = (vectors @ matrix.T)[:, columns[known]]
    return result
