"""The old memories that a new fact may be about."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..store.model import Memory, Snapshot
from .job import Place
from .scope_index import cosines
from .tokens import containment

MOST = 5  # per fact, as in Mem0
# What contradicts must be seen, so the bounds are low; what is shown in vain costs an LLM call and changes nothing.
# Measured on benchmarks/data/contradictions.json by benchmarks/nearness.py.
NEAR_COSINE = 0.25
NEAR_SHARE = 0.3  # of the terms of the one in the other: what two ways to say a thing share where no vector can tell
_PROPOSED = 20  # by the search index, per fact, in a large scope
_LEXICAL = 10  # best word matches looked at per fact
_LONGEST = 4_000  # characters; a longer memory is not shown to a model, which would rewrite it shortened


def nearest(
    snapshot: Snapshot,
    place: Place,
    facts: Sequence[str],
    vectors: NDArray[np.float32] | None,
    living: Sequence[Memory],
    deadline: float,
) -> list[list[Memory]]:
    """For each fact at most MOST of the `living` memories that are near enough to matter, nearest first."""
    candidates = [m for m in living if len(m.text) <= _LONGEST]
    ids = [m.id for m in candidates]
    if not candidates or not facts:
        return [[] for _ in facts]
    lexical = [place.index.bm25(snapshot, fact, ids) for fact in facts]
    dense = np.full((len(facts), len(ids)), np.nan)
    if vectors is not None and place.embedder is not None:
        also = {ids[i] for scores in lexical for i in _best(scores)}
        model = place.embedder.model
        found = place.store.candidates(snapshot, vectors, model, k=_PROPOSED, also=also, deadline=deadline)
        dense = cosines(found, vectors, ids)
    return [_near(fact, row, words, candidates) for fact, row, words in zip(facts, dense, lexical, strict=True)]


def _best(lexical: NDArray[np.float64]) -> list[int]:
    return [i for i in np.argsort(-lexical, kind="stable")[:_LEXICAL].tolist() if lexical[i] > 0]


def _near(
    fact: str, dense: NDArray[np.float64], lexical: NDArray[np.float64], candidates: Sequence[Memory]
) -> list[Memory]:
    nearness = {int(i): float(dense[i]) for i in np.flatnonzero(dense >= NEAR_COSINE)}
    for i in _best(lexical):
        text = candidates[i].text
        share = max(containment(fact, text), containment(text, fact))
        if share >= NEAR_SHARE:
            nearness[i] = max(share - 0.2, nearness.get(i, 0.0))  # words in common say less than a cosine
    return [candidates[i] for i in sorted(nearness, key=lambda i: (-nearness[i], i))[:MOST]]
