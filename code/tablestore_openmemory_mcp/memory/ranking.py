"""Which memories answer a query: dense and lexical candidates together, in one order.

The rule is measured in `benchmarks/retrieval.py`: the z-scored cosine plus 1.6 times c to the power of 2.5 times the
z-scored BM25, over all memories of the scope. c, between 0 and 1, is how far the best lexical hit stands out from the
twentieth: a query whose words occur everywhere says little by them. Chosen on LoCoMo's
even conversations, the first ten chats of BEAM-100K and our Chinese set; flat around it.
"""

import math
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..store.model import Memory
from .tokens import tokens

Scores = NDArray[np.float64]

_LEXICAL_WEIGHT, _STEEPNESS = 1.6, 2.5
_RUNNER_UP = 20  # the lexical hit from which the best has to stand out
_K1, _B = 1.2, 0.75  # BM25's usual constants
_MOSTLY_DEAD = 0.5  # share of slots of gone memories above which the index is built anew


class LexicalIndex:
    """An inverted index of one scope that follows its snapshots. Not thread-safe: the owner locks.

    Every version of a memory gets a slot; a changed or deleted one leaves its slot dead.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._slots: dict[str, int] = {}
        self._indexed: list[Memory] = []
        self._lengths = array("d")
        self._alive = array("b")
        self._postings: dict[str, tuple[array[int], array[int]]] = {}  # term: slots, how often in each

    def follow(self, memories: Mapping[str, Memory]) -> None:
        """Make the index that of `memories`."""
        gone = [i for i, slot in self._slots.items() if memories.get(i) is not self._indexed[slot]]
        for memory_id in gone:
            self._alive[self._slots.pop(memory_id)] = 0
        if len(self._indexed) > 64 and len(self._slots) < _MOSTLY_DEAD * len(self._indexed):
            self._clear()
        for memory_id, memory in memories.items():
            if memory_id not in self._slots:
                self._insert(memory)

    def _insert(self, memory: Memory) -> None:
        slot = len(self._indexed)
        terms = Counter(tokens(memory.text))
        self._slots[memory.id] = slot
        self._indexed.append(memory)
        self._lengths.append(terms.total())
        self._alive.append(1)
        for term, n in terms.items():
            slots, often = self._postings.setdefault(term, (array("i"), array("i")))
            slots.append(slot)
            often.append(n)

    def scores(self, query: str, ids: Sequence[str]) -> Scores:
        """BM25 of `query` for each of `ids`; 0 where no term matches."""
        if not ids:
            return np.zeros(0)
        total = np.zeros(len(self._indexed))
        alive = np.frombuffer(self._alive, np.int8).astype(bool)  # views of the arrays would keep them from growing
        lengths = np.array(self._lengths)
        living = int(alive.sum())
        norm = _K1 * (1 - _B + _B * lengths / max(1.0, lengths[alive].mean()))
        for term in set(tokens(query)):
            if term in self._postings:
                slots, often = (np.array(part) for part in self._postings[term])
                having = int(alive[slots].sum())
                idf = math.log(1 + (living - having + 0.5) / (having + 0.5))
                total[slots] += idf * often * (_K1 + 1) / (often + norm[slots])
        return total[[self._slots[i] for i in ids]]


def order(dense: Scores, lexical: Scores, sample: Scores | None = None) -> NDArray[np.int64]:
    """Indices, best first. `dense` may hold NaN (no vector): such a memory competes by its words alone.

    `sample`: cosines of memories taken at random, where `dense` does not hold those of the whole scope, whose spread
    then cannot be told from it.
    """
    combined = _z(dense, dense if sample is None else sample)
    combined += _LEXICAL_WEIGHT * _standing_out(lexical) ** _STEEPNESS * _z(lexical, lexical)
    return np.argsort(-combined, kind="stable")


def _standing_out(lexical: Scores) -> float:
    best = lexical.max(initial=0.0)
    if best <= 0:
        return 0.0
    other = np.sort(lexical)[-min(_RUNNER_UP, len(lexical))] if len(lexical) > 1 else 0.0
    return float((best - other) / best)


def _z(scores: Scores, among: Scores) -> Scores:
    known = among[~np.isnan(among)]
    if not len(known):
        return np.zeros(len(scores))
    spread = float(known.std()) or 1.0
    return np.asarray(np.nan_to_num((scores - known.mean()) / spread, nan=0.0))
