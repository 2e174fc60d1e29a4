"""Inverted lists that grow at the end and are read as numpy arrays.

Documents are numbered in the order of their arrival; a changed row is a new document and its old number is dead. Dead
numbers stay in the lists, masked out by the reader, until the index compacts itself with `remap`.
"""

from array import array
from bisect import bisect_left, bisect_right
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Docs = NDArray[np.uint32]
Mask = NDArray[np.bool_]
DROPPED = -1  # in a renumbering: this document is gone
Renumbering = NDArray[np.int64]  # by old document number

NO_DOCS: Docs = np.empty(0, np.uint32)


def documents(numbers: "array[int]") -> Docs:
    """A copy, because an array that numpy looks into cannot grow."""
    return np.array(numbers, np.uint32)


def renumber(numbers: "array[int]", renumbering: Renumbering) -> tuple["array[int]", Mask]:
    """The numbers that remain, in the new numbering, and which positions they were at."""
    new = renumbering[documents(numbers)]
    kept = new != DROPPED
    return array("I", new[kept].astype(np.uint32).tobytes()), kept


L = TypeVar("L", bound="Postings")


class Postings:
    """The documents that hold one term; `docs` may name a document twice (an array column with equal elements)."""

    __slots__ = ("docs",)

    def __init__(self) -> None:
        self.docs: array[int] = array("I")

    def remap(self, renumbering: Renumbering) -> None:
        self.docs, _ = renumber(self.docs, renumbering)


class CountedPostings(Postings):
    """Beside each document, how often the term stands in it."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        super().__init__()
        self.counts: array[int] = array("I")

    def remap(self, renumbering: Renumbering) -> None:
        self.docs, kept = renumber(self.docs, renumbering)
        self.counts = array("I", np.array(self.counts, np.uint32)[kept].tobytes())


class Terms(Generic[L]):
    """A dictionary of terms, each with its postings, that can also be walked in order."""

    def __init__(self, make: type[L]) -> None:
        self._make = make
        self._lists: dict[str, L] = {}
        self._ordered: list[str] | None = None

    def at(self, term: str) -> L:
        """The postings of `term`, made if it is new."""
        found = self._lists.get(term)
        if found is None:
            found = self._lists[term] = self._make()
            self._ordered = None
        return found

    def get(self, term: str) -> L | None:
        return self._lists.get(term)

    def docs(self, *terms: str) -> Docs:
        """Every document that holds one of `terms`; with repeats."""
        lists = [documents(found.docs) for t in terms if (found := self._lists.get(t))]
        return np.concatenate(lists) if lists else NO_DOCS

    def between(self, low: str | None, high: str | None, include_low: bool, include_high: bool) -> list[str]:
        """The terms of a range, in order; None is an open end."""
        ordered = self.ordered()
        start = 0 if low is None else (bisect_left if include_low else bisect_right)(ordered, low)
        end = len(ordered) if high is None else (bisect_right if include_high else bisect_left)(ordered, high)
        return ordered[start:end]

    def starting_with(self, prefix: str) -> list[str]:
        ordered = self.ordered()
        start = bisect_left(ordered, prefix)
        end = bisect_right(ordered, prefix, lo=start, key=lambda term: term[: len(prefix)])
        return ordered[start:end]

    def ordered(self) -> list[str]:
        if self._ordered is None:
            self._ordered = sorted(self._lists)
        return self._ordered

    def remap(self, renumbering: Renumbering) -> None:
        for postings in self._lists.values():
            postings.remap(renumbering)
        self._lists = {term: postings for term, postings in self._lists.items() if postings.docs}
        self._ordered = None
