"""Which memories answer a query: by meaning (dense) and by words (lexical) together, in one order.

Neither signal deserves a fixed weight: an embedder may not read the language, and a query's words may occur everywhere.
A memory's score is

    z(dense) + 1.6 * s * min(1, e^(1/2 - d)) * z(BM25)

over all memories of the scope.

- z counts standard deviations above the mean. The dense signal is the cosine with the query's vector, from which
  `shared_directions` has turned down what all memories have in common.
- s, between 0 and 1, is how far the best hit by words stands out from the twentieth.
- d is how well the embedder tells this scope's memories apart. It needs no answers: if it does, a query's best cosine
  stands out by more deviations than chance gives the best of n, and `stood_out` says how many more. The mean over the
  scope's latest queries is steadier than one (`Discernment`). It is 1.5 to 1.8 for multilingual embedders on short
  facts, 0.6 for an English one on Chinese, 0.3 on small talk. Above 1/2 words count the less the higher it is.

An answer often stands beside what it answers. So the twenty best pass on a share of their score to the memories made
just before and after them, within the hour. The share is measured for each query: by how much its BM25 scores of
memories made one after the other correlate, less what chance gives. Memories that merely stand beside each other pass
on nothing.

`benchmarks/retrieval.py` measures all this; docs/measured.md says what was chosen on what.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ...store.model import Memory
from .tokenizer import tokens

Scores = NDArray[np.float64]
Slots = NDArray[np.int64]
Times = NDArray[np.int64]
_Text = tuple[str, int]  # whose it is, and its hash: neither the memory nor the text

_LEXICAL_WEIGHT = 1.6  # flat between 1.4 and 2
_DISCERNING = 0.5  # an embedder below it is not trusted more than words
_SUPPOSED, _SUPPOSED_WEIGHT = 1.0, 4  # its discernment before the first query, as if four had shown it
_LATEST = 50  # queries that a discernment remembers
_TELLING = 20  # memories; in a smaller scope the best of them cannot stand out
_FEW = 20  # hits that a query is about: the best stands out from the last of them, and they give to their neighbours
_SOON = 3_600_000  # ms; what was made further apart belongs to another conversation
_K1, _B = 1.2, 0.75  # BM25's usual constants
_TERM_BYTES, _SLOT_BYTES = 330, 220  # what Python needs around one, roughly
_MOSTLY_DEAD = 0.5  # share of slots of gone memories above which the index is built anew


class LexicalIndex:
    """An inverted index of one scope that follows its snapshots. Not thread-safe: the owner locks.

    Every text of a memory gets a slot; a changed or deleted one leaves its slot dead. No memory is held on to: its
    vector, and a snapshot that nobody else wants any more, would stay with it.
    """

    def __init__(self) -> None:
        self.followed = 0  # how often `follow` was called: slots hold until the next time
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
        self.followed += 1
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


class Discernment:
    """How well an embedder tells the memories of one scope apart, from what its queries find. Not thread-safe."""

    def __init__(self) -> None:
        self._mean, self._weight = _SUPPOSED, _SUPPOSED_WEIGHT

    def after(self, cosines: Scores, sample: Scores, n: int) -> float:
        """The estimate, with one more query: its `cosines` with memories (NaN: unknown), those of a fair `sample` among
        them, and of how many memories they are the best."""
        if n >= _TELLING and (shown := stood_out(cosines, sample, n)) is not None:
            self._weight = min(self._weight + 1, _LATEST)
            self._mean += (shown - self._mean) / self._weight
        return self._mean


def stood_out(cosines: Scores, sample: Scores, n: int) -> float | None:
    """By how many deviations of the `sample` the best of `n` cosines is above what chance would give it; None where all
    are the same or unknown."""
    known = sample[~np.isnan(sample)]
    if len(known) < 2 or np.ptp(known) == 0:
        return None
    best = float((np.nanmax(cosines) - known.mean()) / known.std())
    return best - NormalDist().inv_cdf(n / (n + 1))


def order(
    dense: Scores, lexical: Scores, made: Times, discerned: float = _SUPPOSED, sample: Scores | None = None
) -> NDArray[np.int64]:
    """Indices, best first. `dense` may hold NaN (no vector): such a memory competes by its words alone.

    `made`: when each memory was made, ms, ascending or descending. `discerned`: see Discernment. `sample`: the `dense`
    of memories taken fairly, whose spread is that of the scope where `dense` is not known of all of it.
    """
    trusted = min(1.0, math.exp(_DISCERNING - discerned))
    combined = _z(dense, dense if sample is None else sample)
    combined += _LEXICAL_WEIGHT * _standing_out(lexical) * trusted * _z(lexical, lexical)
    soon = np.abs(np.diff(made)) <= _SOON
    given = np.zeros(len(combined))
    giving = best(combined, _FEW)
    given[giving] = _in_common(lexical, soon) * np.maximum(combined[giving], 0)
    combined[1:] += given[:-1] * soon
    combined[:-1] += given[1:] * soon
    return np.argsort(-combined, kind="stable")


def _standing_out(lexical: Scores) -> float:
    best = lexical.max(initial=0.0)
    if best <= 0:
        return 0.0
    other = np.sort(lexical)[-min(_FEW, len(lexical))] if len(lexical) > 1 else 0.0
    return float((best - other) / best)


def _in_common(lexical: Scores, soon: NDArray[np.bool_]) -> float:
    """By how much, 0 to 1, the scores of memories made soon after each other correlate more than by chance."""
    pairs = int(soon.sum())
    apart = lexical - lexical.mean() if pairs else lexical
    variance = float((apart**2).mean()) if pairs else 0.0
    if variance == 0:
        return 0.0
    correlation = float((apart[1:] * apart[:-1])[soon].mean()) / variance
    return float(np.clip(correlation - 1 / math.sqrt(pairs), 0, 1))


def _z(scores: Scores, among: Scores) -> Scores:
    known = among[~np.isnan(among)]
    if not len(known):
        return np.zeros(len(scores))
    spread = float(known.std()) or 1.0
    return np.asarray(np.nan_to_num((scores - known.mean()) / spread, nan=0.0))
