"""Which memories answer a query: dense and lexical candidates together, in one order.

The rule is measured in `benchmarks/retrieval.py`: the z-scored cosine plus 1.6 times c to the power of 2.5 times the
z-scored BM25, over all memories of the scope. c, between 0 and 1, is how far the best lexical hit stands out from the
twentieth: a query whose words occur everywhere says little by them. The twenty best hits then give 0.2 of what they
have to those made just before and after them: an answer often stands beside what it answers. Chosen on LoCoMo's even
conversations, so that BEAM-100K and our Chinese set do not lose; flat around it.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from ...store.model import Memory
from .tokenizer import tokens

Scores = NDArray[np.float64]
Slots = NDArray[np.int64]
Times = NDArray[np.int64]
_Text = tuple[str, int]  # whose it is, and its hash: neither the memory nor the text

_LEXICAL_WEIGHT, _STEEPNESS = 1.6, 2.5
_GIVING, _GIVEN = 20, 0.2
_SOON = 3_600_000  # ms; what was made further apart belongs to another conversation
_RUNNER_UP = 20  # the lexical hit from which the best has to stand out
_K1, _B = 1.2, 0.75  # BM25's usual constants
_TERM_BYTES, _SLOT_BYTES = 330, 220  # what Python needs around one, roughly
_MOSTLY_DEAD = 0.5  # share of slots of gone memories above which the index is built anew


class LexicalIndex:
    """An inverted index of one scope that follows its snapshots. Not thread-safe: the owner locks.

    Every text of a memory gets a slot; a changed or deleted one leaves its slot dead. No memory is held on to: its
    vector, and a snapshot that nobody else wants any more, would stay with it.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._slots: dict[_Text, int] = {}
        self._lengths = np.zeros(0, np.int64)  # in terms, of each slot
        self._alive = np.zeros(0, bool)
        self._terms: defaultdict[str, int] = defaultdict()
        self._terms.default_factory = self._terms.__len__  # a new term gets the next number
        self._postings: list[array[int]] = []  # by the term's number: slot, how often, and so on, in order of slots
        self._posted = 0

    def follow(self, memories: Mapping[str, Memory]) -> None:
        """Make the index that of `memories`."""
        now = set(map(_text, memories.values()))
        gone = self._slots.keys() - now
        if len(self._alive) > 64 and len(now) < _MOSTLY_DEAD * len(self._alive):
            self._clear()
        else:
            self._alive[[self._slots.pop(text) for text in gone]] = False
        fresh = [memory for memory in memories.values() if _text(memory) not in self._slots]
        if fresh:
            self._insert(fresh)

    def _insert(self, memories: Sequence[Memory]) -> None:
        texts = [tokens(memory.text) for memory in memories]
        lengths = np.array([len(terms) for terms in texts], np.int64)
        numbers = np.fromiter(map(self._terms.__getitem__, chain.from_iterable(texts)), np.int64, lengths.sum())
        pairs = numbers * len(texts) + np.repeat(np.arange(len(texts)), lengths)
        pairs, counts = np.unique(pairs, return_counts=True)
        terms, places = np.divmod(pairs, len(texts))
        first = len(self._alive)
        posted = np.stack([first + places, counts], axis=1).astype(np.int32)
        bounds = [*np.flatnonzero(np.diff(terms, prepend=-1)).tolist(), len(terms)]
        self._postings.extend(array("i") for _ in range(len(self._terms) - len(self._postings)))
        for begin, end in pairwise(bounds):
            self._postings[terms[begin]].frombytes(posted[begin:end].tobytes())
        self._posted += len(posted)
        self._slots.update(zip(map(_text, memories), range(first, first + len(memories)), strict=True))
        self._lengths = np.append(self._lengths, lengths)
        self._alive = np.append(self._alive, np.ones(len(memories), bool))

    def slots(self, memories: Sequence[Memory]) -> Slots:
        """Where the `memories`, all of them followed, are in what `scores` gives."""
        return np.array([self._slots[_text(memory)] for memory in memories], np.int64)

    def scores(self, query: str) -> Scores:
        """BM25 of `query` for every slot; 0 where no term matches."""
        total = np.zeros(len(self._alive))
        living = len(self._slots)
        norm = _K1 * (1 - _B + _B * self._lengths / max(1.0, self._lengths[self._alive].sum() / max(1, living)))
        for term in set(tokens(query)):
            if term in self._terms:
                slots, often = np.frombuffer(self._postings[self._terms[term]], np.int32).reshape(-1, 2).T
                having = int(self._alive[slots].sum())
                idf = math.log(1 + (living - having + 0.5) / (having + 0.5))
                total[slots] += idf * often * (_K1 + 1) / (often + norm[slots])
        return total

    @property
    def nbytes(self) -> int:
        """What it takes in memory, roughly."""
        return _TERM_BYTES * len(self._postings) + 8 * self._posted + _SLOT_BYTES * len(self._alive)


def _text(memory: Memory) -> _Text:
    return memory.id, hash(memory.text)


def best(scores: Scores, k: int) -> list[int]:
    """Indices of the `k` highest of `scores`, highest first, of equal ones the first; NaN is lower than any."""
    comparable = np.where(np.isnan(scores), -np.inf, scores)
    if k < len(scores):
        within = np.flatnonzero(comparable >= np.partition(comparable, -k)[-k])
    else:
        within = np.arange(len(scores))
    return [int(i) for i in within[np.argsort(-comparable[within], kind="stable")[:k]]]


def order(dense: Scores, lexical: Scores, made: Times, sample: Scores | None = None) -> NDArray[np.int64]:
    """Indices, best first. `dense` may hold NaN (no vector): such a memory competes by its words alone.

    `made`: when each memory was made, ms, ascending or descending. `sample`: cosines of memories taken at random, where
    `dense` does not hold those of the whole scope, whose spread then cannot be told from it.
    """
    combined = _z(dense, dense if sample is None else sample)
    combined += _LEXICAL_WEIGHT * _standing_out(lexical) ** _STEEPNESS * _z(lexical, lexical)
    given = np.zeros(len(combined))
    giving = best(combined, _GIVING)
    given[giving] = _GIVEN * np.maximum(combined[giving], 0)
    soon = np.abs(np.diff(made)) <= _SOON
    combined[1:] += given[:-1] * soon
    combined[:-1] += given[1:] * soon
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
