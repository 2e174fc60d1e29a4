"""The old memories that a new fact may be about."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..store.model import Memory, Snapshot
from .job import Place
from .ranking import Scores, best
from .scope_index import cosines
from .tokens import containment

MOST = 10  # shown per fact
CLOSE_COSINE, CLOSE_SHARE = 0.25, 0.3  # what may well be about the same; the share is of terms of the one in the other
# What contradicts must be seen. A bound that finds 99 % of the pairs in benchmarks/data/contradictions.json is none to
# speak of, with any model ("Reports to Martina", "My new manager is Oliver": 0.01); and a bound would spare an LLM call
# only while the scope holds a handful of memories. benchmarks/nearness.py measures both.
NEAR_COSINE = 0.0
_PROPOSED = 20  # by the search index, per fact, in a large scope
_LONGEST = 4_000  # characters; a longer memory is not shown to a model, which would rewrite it shortened


class Nearby(NamedTuple):
    """`memories`: nearest first. `close`: whether the first of them may well say what the fact says."""

    memories: list[Memory]
    close: bool


def nearest(
    snapshot: Snapshot,
    place: Place,
    facts: Sequence[str],
    vectors: NDArray[np.float32] | None,
    living: Sequence[Memory],
    deadline: float,
) -> list[Nearby]:
    """For each fact at most MOST of the `living` memories that are near enough to matter, nearest first."""
    candidates = [m for m in living if len(m.text) <= _LONGEST]
    ids = [m.id for m in candidates]
    if not candidates or not facts:
        return [Nearby([], False) for _ in facts]
    lexical = place.index.bm25(snapshot, facts, candidates)
    dense = np.full((len(facts), len(ids)), np.nan)
    if vectors is not None and place.embedder is not None:
        also = {ids[i] for scores in lexical for i in best(scores, MOST) if scores[i] > 0}
        model = place.embedder.model
        found = place.store.candidates(snapshot, vectors, model, k=_PROPOSED, also=also, deadline=deadline)
        dense = cosines(found, vectors, ids)
    shown = [near(*scores) for scores in zip(dense, lexical, strict=True)]
    return [
        Nearby([candidates[i] for i in places], bool(places) and _is_close(fact, candidates[places[0]], row[places[0]]))
        for fact, row, places in zip(facts, dense, shown, strict=True)
    ]


def _is_close(fact: str, memory: Memory, cosine: float) -> bool:
    share = max(containment(fact, memory.text), containment(memory.text, fact))
    return cosine >= CLOSE_COSINE or share >= CLOSE_SHARE


def near(dense: Scores, lexical: Scores, most: int = MOST) -> list[int]:
    """Indices of what is near a fact by its cosines (NaN: no vector) or by BM25: the best by meaning and the best by
    words in turn, so that neither an embedder that cannot read the language nor words that occur everywhere take all
    the places."""
    by_meaning = [i for i in best(dense, most) if dense[i] > NEAR_COSINE]
    by_words = [i for i in best(lexical, most) if lexical[i] > 0]
    taking_turns = (i for pair in zip_longest(by_meaning, by_words) for i in pair if i is not None)
    return list(dict.fromkeys(taking_turns))[:most]
