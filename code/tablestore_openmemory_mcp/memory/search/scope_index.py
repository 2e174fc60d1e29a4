"""What this process has worked out about a scope's texts, kept in step with the snapshots it sees."""

import math
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...scope import Scope
from ...store.model import Memory, Snapshot
from ..unit_of_work import is_living, now_ms
from ..validation import likeness_key
from .cosine_spread import LEAST, SCRIPTS, Script, Spread, Spreads, script
from .ranking import Discernment, LexicalIndex, Scores, Slots, Times
from .shared_directions import SharedDirections, Vector, shared_directions, turned_down

INDEX_BYTES = 48 * 1024 * 1024
_INDEX_BYTES = 4_000  # of an empty one
_KEY_BYTES = 200  # of a key's place
Reference = weakref.ref[Snapshot]
Matrix = tuple[Sequence[str], NDArray[np.float32]]  # ids and their L2-normalised vectors: ScopeStore.candidates


@dataclass(slots=True, eq=False)
class Living:
    """What can be found at one commit. Worked out once: a search of a large scope must not walk over all of it."""

    until: float  # ms since the epoch: when the first of them expires
    memories: Sequence[Memory]  # the last made first
    made: Times  # their `created_at`
    ids: Sequence[str]
    place: Mapping[str, int]  # of each id among `memories`
    model: str | None = None  # whose vectors all of them have, once somebody has looked
    slots: tuple[int, Slots] | None = None  # in the word index: when it was looked up, and where they are


class ScopeIndex:
    """Thread-safe. Every question names the snapshot that it is about; none is kept alive by that."""

    def __init__(self, spreads: Spreads | None = None, grown: Callable[[], None] = lambda: None) -> None:
        """`spreads`: what all scopes of the process learn together; `grown`: called when `nbytes` may have."""
        self._lock = threading.Lock()
        self._grown = grown
        self.spreads = spreads or Spreads()
        self._spread: tuple[tuple[object, ...], Mapping[Script, Spread]] = (), {}
        self._shared: tuple[tuple[object, ...], SharedDirections | None] = (), None
        self._discernment: tuple[str, Discernment] = "", Discernment()
        self._lexical = LexicalIndex()
        self._indexed: Reference | None = None
        self._keys: dict[tuple[str, int], str] = {}  # by the memory's id and the hash of its text
        self._keys_bytes = 0
        self._living: tuple[Reference, Living] | None = None

    @property
    def nbytes(self) -> int:
        """What it takes in memory, roughly."""
        shared = self._shared[1]
        return self._lexical.nbytes + self._keys_bytes + (shared.nbytes if shared else 0)

    def bm25(self, snapshot: Snapshot, queries: Sequence[str], memories: Sequence[Memory] | Living) -> Scores:
        """The BM25 score of each query for each of the snapshot's `memories`: k x n; 0 where no term matches."""
        with self._lock:
            follows = self._indexed is None or self._indexed() is not snapshot
            if follows:
                self._lexical.follow(snapshot.memories)
                self._indexed = weakref.ref(snapshot)
            slots = self._slots(memories)
            scores = np.stack([self._lexical.scores(query)[slots] for query in queries])
        if follows:
            self._grown()
        return scores

    def _slots(self, memories: Sequence[Memory] | Living) -> Slots:
        if not isinstance(memories, Living):
            return self._lexical.slots(memories)
        if memories.slots is None or memories.slots[0] != self._lexical.followed:
            memories.slots = self._lexical.followed, self._lexical.slots(memories.memories)
        return memories.slots[1]

    def alike(self, snapshot: Snapshot, among: Iterable[Memory]) -> dict[str, Memory]:
        """The memories `among` those of the snapshot by `likeness_key`; the first of those that share one."""
        if len(self._keys) > 2 * len(snapshot.memories):
            self._keys, self._keys_bytes = {}, 0
        keys, grew = self._keys, 0  # without the lock: at worst a key is made twice, or counted twice
        found: dict[str, Memory] = {}
        for memory in among:
            name = memory.id, hash(memory.text)
            key = keys.get(name)
            if key is None:
                key = keys[name] = likeness_key(memory.text)
                grew += _KEY_BYTES + sys.getsizeof(key)
            found.setdefault(key, memory)
        if grew:
            self._keys_bytes += grew
            self._grown()
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

    def contrasted(
        self, snapshot: Snapshot, model: str, found: Matrix, sample: Collection[str], query: Vector
    ) -> Vector:
        """`query` with what all memories have in common turned down, as a fair `sample` (ids) among those `found` shows
        it. The same snapshot must have the same sample."""
        about = (snapshot.epoch, snapshot.seq, model)
        held, shared = self._shared
        if held != about:
            ids, matrix = found
            shared = shared_directions(matrix[[i for i, id_ in enumerate(ids) if id_ in sample]])
            self._shared = about, shared
            self._grown()
        return turned_down(query, shared)

    def discernment(self, model: str, cosines: Scores, sample: Scores, n: int) -> float:
        """How well `model` tells the memories of the scope apart, after one more query: see Discernment."""
        with self._lock:
            if self._discernment[0] != model:
                self._discernment = model, Discernment()
            return self._discernment[1].after(cosines, sample, n)

    def living(self, snapshot: Snapshot) -> Living:
        """The memories of the snapshot that have not expired by now."""
        now = now_ms()
        held = self._living
        if held is not None and held[0]() is snapshot and now < held[1].until:
            return held[1]
        memories = [m for m in reversed(list(snapshot.memories.values())) if is_living(m, now)]
        until = min((m.expires_at for m in memories if m.expires_at is not None), default=math.inf)
        made = np.array([m.created_at for m in memories], np.int64)
        ids = [m.id for m in memories]
        living = Living(until, memories, made, ids, places(ids))
        self._living = weakref.ref(snapshot, self._let_go), living
        return living

    def _let_go(self, snapshot: Reference) -> None:
        if self._living is not None and self._living[0] is snapshot:
            self._living = None


class ScopeIndexes:
    """The index of each scope within a bound of bytes, the least recently used forgotten first. Thread-safe.

    With the store's SNAPSHOT_BYTES this is what a process keeps of its scopes.
    """

    def __init__(self, max_bytes: int = INDEX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._spreads = Spreads()
        self._lock = threading.Lock()
        self._indexes: OrderedDict[Scope, ScopeIndex] = OrderedDict()

    def of(self, scope: Scope) -> ScopeIndex:
        with self._lock:
            index = self._indexes.get(scope)
            if index is None:
                index = self._indexes[scope] = ScopeIndex(self._spreads, self._trim)
            self._indexes.move_to_end(scope)
            return index

    def _trim(self) -> None:
        with self._lock:
            held = sum(_INDEX_BYTES + index.nbytes for index in self._indexes.values())
            while held > self._max_bytes and len(self._indexes) > 1:
                held -= _INDEX_BYTES + self._indexes.popitem(last=False)[1].nbytes

    def forget(self, scope: Scope) -> None:
        with self._lock:
            self._indexes.pop(scope, None)


def places(ids: Sequence[str]) -> dict[str, int]:
    """Where each of `ids`, which are all different, stands among them."""
    return dict(zip(ids, range(len(ids)), strict=True))


def cosines(found: Matrix, vectors: NDArray[np.float32], place: Mapping[str, int]) -> Scores:
    """The cosine of each of `vectors` (k x d, normalised) with each id of `place`, in its column: k x n; NaN where
    `found` lacks it."""
    held, matrix = found
    result = np.full((len(vectors), len(place)), np.nan)
    if len(held):
        columns = np.array([place.get(i, -1) for i in held], np.int64)
        wanted = columns >= 0
        result[:, columns[wanted]] = (vectors @ matrix.T)[:, wanted]
    return result
