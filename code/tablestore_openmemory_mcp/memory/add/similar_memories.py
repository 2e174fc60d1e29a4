"""The old memories that a new fact may be about."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...store.model import Memory, Snapshot
from ..context import ScopeContext
from ..search.cosine_spread import ASSUMED, SAMPLE, Spread, evenly, script
from ..search.ranking import Scores, best
from ..search.scope_index import cosines, places
from ..search.tokenizer import containment

MOST = 10  # shown per fact
CLOSE = 2.0  # deviations above unrelated texts: may well say the same
# Near enough for the LLM to be asked: finds 99 % of the contradictions in benchmarks/data/contradictions.json. What is
# asked in vain costs an LLM call and changes nothing; benchmarks/nearness.py measures both, for three embedders.
NEAR, NEAR_SHARE = -0.5, 0.3  # in deviations too; the share is of terms of the one in the other
_PROPOSED = 20  # by the search index, per fact, in a large scope
_LONGEST = 4_000  # characters; a longer memory is not shown to a model, which would rewrite it shortened


class Nearby(NamedTuple):
    """`memories`: nearest first. `close`: whether the first of them may well say what the fact says. `cosines`: of the
    fact with each of them, NaN where there is no vector."""

    memories: list[Memory]
    close: bool
    cosines: Scores


_NOTHING = Nearby([], False, np.empty(0))


def nearest(
    snapshot: Snapshot,
    scoped: ScopeContext,
    facts: Sequence[str],
    vectors: NDArray[np.float32] | None,
    living: Sequence[Memory],
    deadline: float,
    *,
    sparing: bool = True,
) -> list[Nearby]:
    """For each fact at most MOST of the `living` memories, nearest first. `sparing`: none if none of them is near
    enough for an LLM to be asked."""
    candidates = [m for m in living if len(m.text) <= _LONGEST]
    ids = [m.id for m in candidates]
    if not candidates or not facts:
        return [_NOTHING for _ in facts]
    lexical = scoped.index.bm25(snapshot, facts, candidates)
    dense = np.full((len(facts), len(ids)), np.nan)
    has = np.zeros(len(facts), bool) if vectors is None else ~np.isnan(vectors).any(axis=1)
    if vectors is not None and scoped.embedder is not None and has.any():
        sample = {ids[i] for i in evenly(len(ids), SAMPLE)}
        also = sample | {ids[i] for scores in lexical for i in best(scores, MOST) if scores[i] > 0}
        model = scoped.embedder.model
        found = scoped.store.candidates(snapshot, vectors[has], model, k=_PROPOSED, also=also, deadline=deadline)
        scoped.index.learn_spread(snapshot, model, found, sample)
        dense[has] = cosines(found, vectors[has], places(ids))
    return [
        _nearby(fact, of_vector, of_words, candidates, spread_of(snapshot, scoped, fact), sparing)
        for fact, of_vector, of_words in zip(facts, dense, lexical, strict=True)
    ]


def spread_of(snapshot: Snapshot, scoped: ScopeContext, text: str) -> Spread:
    """What a cosine of `text` with a memory of the scope is to be compared with: how unrelated texts of its script
    spread in the scope (`nearest` has learnt that), else elsewhere."""
    if scoped.embedder is None:
        return ASSUMED
    return scoped.index.spread(snapshot, scoped.embedder.model, script(text))


def _nearby(
    fact: str, dense: Scores, lexical: Scores, candidates: Sequence[Memory], spread: Spread, sparing: bool
) -> Nearby:
    places = ranked(dense, lexical)
    distinct = spread.z(dense)
    shares = {i: share(fact, candidates[i].text) for i in places}
    if not places or (sparing and not any(distinct[i] >= NEAR or shares[i] >= NEAR_SHARE for i in places)):
        return _NOTHING
    first = places[0]
    close = bool(distinct[first] >= CLOSE or shares[first] >= NEAR_SHARE)
    return Nearby([candidates[i] for i in places], close, dense[places])


def share(fact: str, text: str) -> float:
    """The share of the terms of the one in the other, whichever is more."""
    return max(containment(fact, text), containment(text, fact))


def ranked(dense: Scores, lexical: Scores, most: int = MOST) -> list[int]:
    """Indices of what is nearest to a fact by its cosines (NaN: no vector) or by BM25: the best by meaning and the best
    by words in turn, so that neither an embedder that cannot read the language nor words that occur everywhere take all
    the places."""
    by_meaning = [i for i in best(dense, most) if dense[i] > 0]
    by_words = [i for i in best(lexical, most) if lexical[i] > 0]
    taking_turns = (i for pair in zip_longest(by_meaning, by_words) for i in pair if i is not None)
    return list(dict.fromkeys(taking_turns))[:most]
