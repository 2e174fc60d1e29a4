"""Search one scope: the query's vector and the scope's head at the same time, then one order over everything."""

import logging
import time
from concurrent.futures import Executor, wait
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError, StoreError
from ..store.model import Conflict, ScopeStore, Snapshot
from .embedder import Embedder, row
from .model import Hit
from .ranking import best, order
from .scope_index import ScopeIndex, cosines
from .unembedded import as_refused, is_refused
from .unit import Unit, is_living, now_ms

logger = logging.getLogger(__name__)

_BY_VECTOR, _BY_WORDS = 200, 200  # candidates of a large scope
_SAMPLE = 100  # its memories whose cosines tell how the others' spread
REEMBEDDED_PER_CALL = 50  # memories without a vector of the present model that one search brings up to date


class Recall:
    """`pool` reads the store while the calling thread waits for the embedder."""

    def __init__(self, embedder: Embedder | None, pool: Executor, min_score: float) -> None:
        self._embedder = embedder
        self._model = embedder.model if embedder else ""
        self._pool = pool
        self._min_score = min_score

    def search(self, store: ScopeStore, index: ScopeIndex, query: str, limit: int, deadline: float) -> list[Hit]:
        """At most `limit` memories, best first. Raises a ModelError or a StoreError."""
        if self._embedder is None:
            snapshot = store.snapshot(deadline=deadline)
            return _by_words(snapshot, index, query, limit)
        reading = self._pool.submit(store.snapshot, deadline=deadline)
        try:
            vector = self._embedder.embed([query], deadline=deadline)[0]
        finally:
            wait([reading])  # whose own failure must not hide the embedder's
        snapshot = reembedded(store, reading.result(), self._embedder, deadline)
        return self._by_both(store, snapshot, index, query, vector, limit, deadline)

    def _by_both(
        self,
        store: ScopeStore,
        snapshot: Snapshot,
        index: ScopeIndex,
        query: str,
        vector: NDArray[np.float32],
        limit: int,
        deadline: float,
    ) -> list[Hit]:
        living = index.living(snapshot)
        memories = living.memories
        ids = [m.id for m in memories]
        [lexical] = index.bm25(snapshot, [query], memories)
        sample = range(0, len(ids), 1 if snapshot.with_vectors else max(1, len(ids) // _SAMPLE))
        by_words = [i for i in best(lexical, _BY_WORDS) if lexical[i] > 0]
        also = {ids[i] for i in (*sample, *by_words)}
        found = store.candidates(snapshot, vector[None, :], self._model, k=_BY_VECTOR, also=also, deadline=deadline)
        dense = cosines(found, vector[None, :], ids)[0]
        # In a large scope, what neither the index nor the words proposed has no cosine, and is left out.
        ranked = order(dense, lexical, living.made, dense[list(sample)])
        hits = []
        for i in ranked[~np.isnan(dense[ranked]) | (lexical[ranked] > 0)].tolist():
            if np.isnan(dense[i]):
                if memories[i].vector_model != self._model:
                    hits.append(Hit(memories[i]))
            elif (score := float(np.clip((1 + dense[i]) / 2, 0, 1))) >= self._min_score:
                hits.append(Hit(memories[i], score))
            if len(hits) == limit:
                break
        return hits


def reembedded(store: ScopeStore, snapshot: Snapshot, embedder: Embedder, deadline: float) -> Snapshot:
    """`snapshot`, after a bounded step towards vectors of the present model for all; unchanged if that fails.

    Memories lack them after a time without a key, an LLM outage, or a change of EMBEDDER_MODEL.
    """
    stale = [m for m in snapshot.memories.values() if m.vector_model != embedder.model and is_living(m, now_ms())]
    stale = [m for m in stale if not is_refused(m, embedder.model)]
    if not stale:
        return snapshot
    chosen = stale[-REEMBEDDED_PER_CALL:]  # the newest matter most
    try:
        made = embedder.embed_each([m.text for m in chosen], deadline=min(deadline, time.monotonic() + 5))
        unit = Unit(snapshot)
        for n, memory in enumerate(chosen):
            if (vector := row(made.vectors, n)) is not None:
                unit.touch(replace(memory, vector=vector, vector_model=embedder.model))
            elif n in made.refused:
                unit.touch(as_refused(memory, embedder.model))
        if not unit.changes:
            return snapshot
        return store.commit(unit.changes, base=snapshot, deadline=deadline)
    except Conflict as conflict:
        return conflict.latest
    except (ModelError, StoreError) as e:
        logger.warning("%d memories keep no vector of %s for now: %s", len(stale), embedder.model, e)
        return snapshot


def _by_words(snapshot: Snapshot, index: ScopeIndex, query: str, limit: int) -> list[Hit]:
    """Without an embedder: what shares words with the query; if nothing does, the newest, marked as such."""
    memories = index.living(snapshot).memories
    [scores] = index.bm25(snapshot, [query], memories)
    found = [memories[i] for i in best(scores, limit) if scores[i] > 0]
    if found:
        return [Hit(m) for m in found]
    newest = sorted(memories, key=lambda m: m.updated_at, reverse=True)
    return [Hit(m, note="newest") for m in newest[:limit]]
