"""What this process has worked out about a scope's texts, kept in step with the snapshots it sees."""

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..scope import Scope
from ..store.model import Memory, Snapshot
from .ranking import LexicalIndex, Scores, Times
from .spread import LEAST, SCRIPTS, Script, Spread, Spreads, script
from .text import likeness_key
from .unit import is_living, now_ms

Matrix = tuple[Sequence[str], NDArray[np.float32]]  # ids and their L2-normalised vectors: ScopeStore.candidates


class Living(NamedTuple):
    """What can be found at one commit."""

    snapshot: Snapshot
    until: float  # ms since the epoch: when the first of them expires
    memories: Sequence[Memory]  # the last made first
    made: Times  # their `created_at`


class ScopeIndex:
    """Thread-safe. Every question names the snapshot that it is about."""

    def __init__(self, spreads: Spreads | None = None) -> None:
        """`spreads`: what all scopes of the process learn together."""
        self._lock = threading.Lock()
        self.spreads = spreads or Spreads()
        self._spread: tuple[tuple[object, ...], Mapping[Script, Spread]] = (), {}
        self._lexical = LexicalIndex()
        self._indexed: Snapshot | None = None
        self._keys: dict[Memory, str] = {}
        self._living: Living | None = None

    def bm25(self, snapshot: Snapshot, queries: Sequence[str], memories: Sequence[Memory]) -> Scores:
        """The BM25 score of each query for each of the snapshot's `memories`: k x n; 0 where no term matches."""
        with self._lock:
            if snapshot is not self._indexed:
                self._lexical.follow(snapshot.memories)
                self._indexed = snapshot
            slots = self._lexical.slots(memories)
            return np.stack([self._lexical.scores(query)[slots] for query in queries])

    def alike(self, snapshot: Snapshot, among: Iterable[Memory]) -> dict[str, Memory]:
        """The memories `among` those of the snapshot by `likeness_key`; the first of those that share one."""
        if len(self._keys) > 2 * len(snapshot.memories):
            self._keys = {m: key for m in snapshot.memories.values() if (key := self._keys.get(m)) is not None}
        keys = self._keys  # without the lock: at worst a key is made twice
        found: dict[str, Memory] = {}
        for memory in among:
            key = keys.get(memory)
            if key is None:
                key = keys[memory] = likeness_key(memory.text)
            found.setdefault(key, memory)
        return found

    def learn_spread(self, snapshot: Snapshot, model: str, found: Matrix, sample: Collection[str]) -> None:
        """Learn how the cosines of unrelated memories spread: from the vectors `found` of a fair `sample` (ids)."""
        about = (snapshot.epoch, snapshot.seq, model)
        if self._spread[0] != about:
            held, matrix = found
            rows = [(i, script(snapshot.memories[id_].text)) for i, id_ in enumerate(held) if id_ in sample]
            by_script = {s: matrix[[i for i, written in rows if written == s]] for s in SCRIPTS}
            enough = {s: vectors for s, vectors in by_script.items() if len(vectors) >= LEAST}
            self._spread = about, {s: self.spreads.learn(model, s, vectors) for s, vectors in enough.items()}

    def spread(self, snapshot: Snapshot, model: str, written: Script) -> Spread:
        """What was learnt from the snapshot, if `learn_spread` was called, else from other texts."""
        about, learnt = self._spread
        if about == (snapshot.epoch, snapshot.seq, model) and written in learnt:
            return learnt[written]
        return self.spreads.known(model, written)

    def living(self, snapshot: Snapshot) -> Living:
        """The memories of the snapshot that have not expired by now."""
        now = now_ms()
        living = self._living
        if living is None or living.snapshot is not snapshot or living.until <= now:
            memories = [m for m in reversed(list(snapshot.memories.values())) if is_living(m, now)]
            until = min((m.expires_at for m in memories if m.expires_at is not None), default=math.inf)
            made = np.array([m.created_at for m in memories], np.int64)
            living = self._living = Living(snapshot, until, memories, made)
        return living


class ScopeIndexes:
    """The index of each scope, the least recently used forgotten first. Thread-safe."""

    def __init__(self, most: int = 256) -> None:
        self._most = most
        self._spreads = Spreads()
        self._lock = threading.Lock()
        self._indexes: OrderedDict[Scope, ScopeIndex] = OrderedDict()

    def of(self, scope: Scope) -> ScopeIndex:
        with self._lock:
            index = self._indexes.setdefault(scope, ScopeIndex(self._spreads))
            self._indexes.move_to_end(scope)
            while len(self._indexes) > self._most:
                self._indexes.popitem(last=False)
            return index

    def forget(self, scope: Scope) -> None:
        with self._lock:
            self._indexes.pop(scope, None)


def cosines(found: Matrix, vectors: NDArray[np.float32], ids: Sequence[str]) -> Scores:
    """The cosine of each of `vectors` (k x d, normalised) with each of `ids`: k x n; NaN where `found` lacks it."""
    held, matrix = found
    result = np.full((len(vectors), len(ids)), np.nan)
    if len(held):
        place = dict(zip(ids, range(len(ids)), strict=True))
        columns = np.array([place.get(i, -1) for i in held], np.int64)
        wanted = columns >= 0
        result[:, columns[wanted]] = (vectors @ matrix.T)[:, wanted]
    return result
