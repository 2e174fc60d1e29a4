"""Search one scope: the query's vector and the scope's head at the same time, then one order over everything."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from ...store.model import Memory, ScopeStore, Snapshot
from ..model import Hit
from ..models.embedder import Embedder
from ..models.query_embedder import QueryEmbedder
from .cosine_spread import evenly, script
from .ranking import Scores, best, order
from .scope_index import ScopeIndex, cosines
from .scope_upkeep import Improver
from .shared_directions import SAMPLE

# Deviations above unrelated texts that make a memory like a query, where there is but one; and how much less it may be
# each time there are twice as many. On our everyday set (36 memories each) no answer is lost by it.
_LIKE, _LIKE_LESS = 1.0, 0.5
_BY_VECTOR, _BY_WORDS = 200, 200  # candidates of a large scope


class Recall:
    """The embedder is asked in a thread of its own while the calling one reads the store."""

    def __init__(self, embedder: Embedder | None, min_score: float, *, always_answers: bool = False) -> None:
        """`always_answers`: with the newest memories, marked as such, where no memory is like the query."""
        self._queries = QueryEmbedder(embedder) if embedder else None
        self._model = embedder.model if embedder else ""
        self._improver = Improver(embedder)
        self._min_score = min_score
        self._always_answers = always_answers

    def search(self, store: ScopeStore, index: ScopeIndex, query: str, limit: int, deadline: float) -> list[Hit]:
        """At most `limit` memories, best first. Raises a StoreError.

        Without the embedder's help they are ranked by words alone, and a note says why.
        """
        asked = self._queries.ask(query, deadline) if self._queries else None
        snapshot = store.snapshot(deadline=deadline)
        if self._queries is None or asked is None:
            snapshot = self._improver.improved(store, snapshot, index, deadline)
            return _by_words(snapshot, index, query, limit)
        try:
            vector = self._queries.wait(asked, deadline)
        except ModelError as e:
            return _noted(_by_words(snapshot, index, query, limit), f"Ranked by words alone: {e}.")
        snapshot = self._improver.improved(store, snapshot, index, deadline)
        return self._by_both(store, snapshot, index, query, vector, limit, deadline)

    def close(self) -> None:
        """Let go of threads."""
        if self._queries:
            self._queries.close()

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
        memories, ids = living.memories, living.ids
        [lexical] = index.bm25(snapshot, [query], living)
        sample = evenly(len(ids), SAMPLE)
        sampled = {ids[i] for i in sample}
        by_words = {ids[i] for i in best(lexical, _BY_WORDS) if lexical[i] > 0}
        found = store.candidates(
            snapshot, vector[None, :], self._model, k=_BY_VECTOR, also=sampled | by_words, deadline=deadline
        )
        contrasted = index.contrasted(snapshot, self._model, found, sampled, vector)
        plain, dense = cosines(found, np.stack([vector, contrasted]), living.place)
        discerned = index.discernment(self._model, plain, plain[sample], len(ids))
        # In a large scope, what neither the index nor the words proposed has no cosine, and is left out.
        ranked = order(dense, lexical, living.made, discerned, dense[sample])
        hits = []
        for i in ranked[~np.isnan(plain[ranked]) | (lexical[ranked] > 0)].tolist():
            if np.isnan(plain[i]):
                if memories[i].vector_model != self._model:
                    hits.append(Hit(memories[i]))
            elif (score := float(np.clip((1 + plain[i]) / 2, 0, 1))) >= self._min_score:
                hits.append(Hit(memories[i], score))
            if len(hits) == limit:
                break
        if self._always_answers and not (hits and self._is_like_any(snapshot, index, query, plain, lexical)):
            return _newest(memories, limit)
        return hits

    def _is_like_any(self, snapshot: Snapshot, index: ScopeIndex, query: str, plain: Scores, lexical: Scores) -> bool:
        """Whether any memory has a word of `query`, or is nearer to it than unrelated texts are. Among few memories
        that takes more: with many to choose from, even a faint likeness is a better guess than the newest."""
        if (lexical > 0).any():
            return True
        spread = index.spread(snapshot, self._model, script(query))
        return bool((spread.z(plain) > _LIKE - _LIKE_LESS * math.log2(len(plain))).any()) if len(plain) else False


def _by_words(snapshot: Snapshot, index: ScopeIndex, query: str, limit: int) -> list[Hit]:
    """Without an embedder: what shares words with the query; if nothing does, the newest, marked as such."""
    living = index.living(snapshot)
    memories = living.memories
    [scores] = index.bm25(snapshot, [query], living)
    found = [memories[i] for i in best(scores, limit) if scores[i] > 0]
    if found:
        return [Hit(m) for m in found]
    return _newest(memories, limit)


def _newest(memories: Sequence[Memory], limit: int) -> list[Hit]:
    newest = sorted(memories, key=lambda m: m.updated_at, reverse=True)
    return [Hit(m, note="newest") for m in newest[:limit]]


def _noted(hits: Sequence[Hit], note: str) -> list[Hit]:
    """With the `note` on the first of `hits`: each costs the model that reads it, and all have it in common."""
    return [replace(hit, note=note if hit.note is None else f"{hit.note}. {note}") for hit in hits[:1]] + list(hits[1:])
