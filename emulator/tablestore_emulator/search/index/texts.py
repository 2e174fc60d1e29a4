"""TEXT fields: where a token stands, how often, and in which order."""

from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..schema import FieldSpec
from . import phrases
from .analysis import FUZZY_LIMIT, tokens
from .fields import Field, TermField
from .postings import DROPPED, NO_DOCS, CountedPostings, Docs, Renumbering, Terms, documents

Counts = NDArray[np.float64]


class AnalyzedField(Field):
    """What Match, MatchPhrase and BM25 need of a field. Documents may be dead: the caller masks them out."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._lengths: array[int] = array("I")  # by document: how many tokens

    def tokens(self, text: str) -> list[str]:
        return tokens(self.spec.analyzer, text)

    def lengths(self, documents: int) -> NDArray[np.uint32]:
        """By document number, the count of tokens; 0 for a document without this field."""
        return np.pad(np.array(self._lengths, np.uint32), (0, documents - len(self._lengths)))

    @abstractmethod
    def holding(self, token: str) -> tuple[Docs, Counts]:
        """The documents that hold `token`, and how often each does."""

    @abstractmethod
    def pieces(self, text: str) -> list[str]:
        """The tokens that every document with the phrase `text` must hold; none if nothing can hold it."""

    @abstractmethod
    def frequencies(self, docs: Sequence[int], text: str, slop: int) -> list[int]:
        """For each of `docs`, which hold all pieces: how often the phrase `text` stands in it."""


class TextField(AnalyzedField, TermField):
    """An inverted list per token, and per document its token numbers in order."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._terms: Terms[CountedPostings] = Terms(CountedPostings)
        self._numbers: dict[str, int] = {}
        self._sequences: list[bytes] = []  # by document: token numbers, uint32

    @property
    def terms(self) -> Terms[CountedPostings]:
        return self._terms

    def holding(self, token: str) -> tuple[Docs, Counts]:
        postings = self._terms.get(token)
        if postings is None:
            return NO_DOCS, np.empty(0)
        return documents(postings.docs), np.array(postings.counts, np.float64)

    def pieces(self, text: str) -> list[str]:
        return self.tokens(text)

    def frequencies(self, docs: Sequence[int], text: str, slop: int) -> list[int]:
        numbers = [self._numbers[token] for token in self.tokens(text)] if docs else []
        if slop > 0:
            return [phrases.sloppy(self._sequences[doc], numbers, slop) for doc in docs]
        needle = array("I", numbers).tobytes()
        return [phrases.exact(self._sequences[doc], needle) for doc in docs]

    def _index(self, doc: int, values: list[Any]) -> bool:
        texts = [v for v in values if isinstance(v, str)]
        found = [token for text in texts for token in self.tokens(text)]
        for token, count in Counter(found).items():
            postings = self._terms.at(token)
            postings.docs.append(doc)
            postings.counts.append(count)
        gap = doc - len(self._sequences)
        numbers = self._numbers
        self._sequences.extend([b""] * gap)
        self._sequences.append(array("I", [numbers.setdefault(t, len(numbers)) for t in found]).tobytes())
        self._lengths.extend([0] * gap)
        self._lengths.append(len(found))
        return bool(texts)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        self._terms.remap(renumbering)
        living = [token for token in self._numbers if self._terms.get(token)]
        table = np.zeros(len(self._numbers), np.uint32)
        table[[self._numbers[token] for token in living]] = np.arange(len(living))
        self._numbers = {token: number for number, token in enumerate(living)}
        # The living keep their order, so what is left of the lists is in the new numbering.
        kept = [doc for doc in range(len(self._sequences)) if renumbering[doc] != DROPPED]
        self._sequences = [table[np.frombuffer(self._sequences[doc], np.uint32)].tobytes() for doc in kept]
        self._lengths = array("I", [self._lengths[doc] for doc in kept])


class FuzzyField(AnalyzedField):
    """Keeps the texts and looks grams up in them. Lists of the grams would take some thousand times a text's size,
    and going through a hundred thousand texts takes milliseconds."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._texts: list[str] = []  # by document, as the analyzer sees them
        self._sizes = range(spec.analyzer.min_chars, spec.analyzer.max_chars + 1)

    def holding(self, token: str) -> tuple[Docs, Counts]:
        if len(token) not in self._sizes:
            return NO_DOCS, np.empty(0)
        found = [(doc, text.count(token)) for doc, text in enumerate(self._texts) if token in text]
        docs, counts = zip(*found, strict=True) if found else ((), ())
        return np.array(docs, np.uint32), np.array(counts, np.float64)

    def pieces(self, text: str) -> list[str]:
        text = self._normal(text)
        size = min(len(text), self._sizes[-1])
        if size < self._sizes[0]:
            return []
        return [text[i : i + size] for i in range(len(text) - size + 1)]

    def frequencies(self, docs: Sequence[int], text: str, slop: int) -> list[int]:
        needle = self._normal(text)
        return [self._texts[doc].count(needle) for doc in docs]

    def _normal(self, text: str) -> str:
        return text if self.spec.analyzer.case_sensitive else text.lower()

    def _index(self, doc: int, values: list[Any]) -> bool:
        texts = [self._normal(v)[:FUZZY_LIMIT] for v in values if isinstance(v, str)]
        gap = doc - len(self._texts)
        self._texts.extend([""] * gap)
        self._texts.append("\0".join(texts))
        self._lengths.extend([0] * gap)
        self._lengths.append(sum(max(len(text) - size + 1, 0) for text in texts for size in self._sizes))
        return bool(texts)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        kept = [doc for doc in range(len(self._texts)) if renumbering[doc] != DROPPED]
        self._texts = [self._texts[doc] for doc in kept]
        self._lengths = array("I", [self._lengths[doc] for doc in kept])
