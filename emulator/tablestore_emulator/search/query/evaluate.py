"""Which documents match a query, and how well."""

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import OtsError, invalid, unsupported
from ..index.documents import Documents
from ..index.fields import Field, KeywordField, NumberField, TermField
from ..index.geo import GeoField, asked_point
from ..index.nested import NestedField
from ..index.postings import Docs, Mask
from ..index.texts import AnalyzedField, FuzzyField
from ..index.vectors import VectorField, parse_vector
from ..values import Value
from . import queries as q
from .minimum_should_match import required
from .scoring import Scores, rarity, saturation

_ONE_SCORE: dict[str, Callable[[list[float]], float]] = {
    "none": lambda _: 0.0,
    "avg": lambda scores: sum(scores) / len(scores),
    "max": max,
    "min": min,
    "total": sum,
}


@dataclass(slots=True)
class Matches:
    """By document number. `scores` is 0 where `mask` is false."""

    mask: Mask
    scores: Scores


class Evaluator:
    """Evaluates queries against one index as it is now."""

    def __init__(self, index: Documents) -> None:
        self._index = index
        self._size = index.size
        self._alive = index.alive()
        self.cut = False  # whether a Knn found as many as its k, so that there may be more behind

    def run(self, query: q.Query) -> Matches:
        match query:
            case q.MatchAll():
                return self._flat(self._alive.copy())
            case q.Match():
                return self._match(query)
            case q.MatchPhrase():
                return self._phrase(query)
            case q.Terms():
                return self._terms(query)
            case q.Range():
                return self._flat(self._within(query))
            case q.Prefix():
                field = self._term_field(query.field)
                return self._any_of(field, field.terms.starting_with(query.prefix), query.weight)
            case q.Wildcard():
                return self._wildcard(query)
            case q.Exists():
                return self._flat(self._mask(self._index.field(query.field).present()))
            case q.GeoDistance() | q.GeoBox() | q.GeoPolygon():
                return self._flat(self._mask(self._geo(query)))
            case q.Nested():
                return self._nested(query)
            case q.Bool():
                return self._bool(query)
            case q.ConstScore():
                return self._flat(self.run(query.filter).mask)
            case q.FunctionScore():
                return self._function_score(query)
            case q.Knn():
                return self._knn(query)

    # -- helpers

    def _term_field(self, name: str) -> TermField:
        found = self._index.field(name)
        if isinstance(found, FuzzyField):
            raise unsupported("A prefix, wildcard or range query of a fuzzy field")
        if not isinstance(found, TermField):
            raise _misused(found)
        return found

    def _mask(self, docs: Docs) -> Mask:
        mask = np.zeros(self._size, np.bool_)
        mask[docs] = True
        mask &= self._alive
        return mask

    def _flat(self, mask: Mask, score: float = 1.0) -> Matches:
        return Matches(mask, np.where(mask, score, 0.0))

    def _any_of(self, field: TermField, terms: list[str], weight: float) -> Matches:
        return self._flat(self._mask(field.terms.docs(*terms)), weight)

    # -- text

    def _match(self, query: q.Match) -> Matches:
        field = self._index.field(query.field)
        if not isinstance(field, AnalyzedField):
            return self._terms(q.Terms(query.field, (query.text,), scored=True, weight=query.weight))
        tokens = field.tokens(query.text)
        wanted = max(len(tokens) if query.every else required(query.minimum, len(tokens)), 1)
        scores, held = np.zeros(self._size), np.zeros(self._size, np.uint32)
        for token in tokens:
            docs, found = self._token(field, token)
            scores[docs] += found
            held[docs] += 1
        mask = held >= wanted
        return Matches(mask, np.where(mask, scores * query.weight, 0.0))

    def _token(self, field: AnalyzedField, token: str) -> tuple[Docs, Scores]:
        """The live documents that hold `token`, and its BM25 there."""
        docs, counts = field.holding(token)
        live = self._alive[docs]
        docs, counts = docs[live], counts[live]
        return docs, self._bm25(field, docs, counts, self._rarity(field, len(docs)))

    def _rarity(self, field: Field, holding: int) -> float:
        return rarity(int(self._alive[field.present()].sum()), holding)

    def _bm25(self, field: AnalyzedField, docs: Docs, counts: Scores, weight: float) -> Scores:
        lengths = field.lengths(self._size).astype(np.float64)
        present = max(int(self._alive[field.present()].sum()), 1)
        mean = max(float(lengths[self._alive].sum()) / present, 1.0)
        return weight * saturation(counts, lengths[docs], mean)

    def _phrase(self, query: q.MatchPhrase) -> Matches:
        field = self._index.field(query.field)
        if not isinstance(field, AnalyzedField):
            return self._terms(q.Terms(query.field, (query.text,), scored=True, weight=query.weight))
        pieces = field.pieces(query.text)
        held, weight = self._alive.copy() if pieces else np.zeros(self._size, np.bool_), 0.0
        for piece in pieces:
            docs, _ = self._token(field, piece)
            held &= self._mask(docs)
            weight += self._rarity(field, len(docs))
        docs = np.flatnonzero(held).astype(np.uint32)
        counts = np.array(field.frequencies(docs.tolist(), query.text, query.slop), np.float64)
        docs, counts = docs[counts > 0], counts[counts > 0]
        scores = np.zeros(self._size)
        scores[docs] = self._bm25(field, docs, counts, weight) * query.weight
        return Matches(self._mask(docs), scores)

    # -- values

    def _terms(self, query: q.Terms) -> Matches:
        field = self._index.field(query.field)
        mask = self._mask(self._equal(field, query.values))
        if not query.scored:
            return self._flat(mask, query.weight)
        if isinstance(field, AnalyzedField):
            scores = np.zeros(self._size)
            docs, found = self._token(field, str(query.values[0]))
            scores[docs] = found * query.weight
            return Matches(mask, scores)
        weight = self._rarity(field, int(mask.sum())) if isinstance(field, KeywordField) else 1.0
        return self._flat(mask, weight * query.weight)

    def _equal(self, field: Field, values: tuple[Value, ...]) -> Docs:
        if isinstance(field, NumberField):
            return field.equal(*[field.asked(v) for v in values])
        words = [self._text(field, v) for v in values]
        if isinstance(field, TermField):
            return field.terms.docs(*words)
        if isinstance(field, FuzzyField):
            return np.concatenate([field.holding(word)[0] for word in words])
        raise _misused(field)

    def _within(self, query: q.Range) -> Mask:
        field = self._index.field(query.field)
        bounds: list[Any] = [query.low, query.high]
        if isinstance(field, NumberField):
            low, high = [None if b is None else field.asked(b) for b in bounds]
            return self._mask(field.between(low, high, query.include_low, query.include_high))
        terms = self._term_field(query.field).terms
        first, last = [None if b is None else self._text(field, b) for b in bounds]
        return self._mask(terms.docs(*terms.between(first, last, query.include_low, query.include_high)))

    def _text(self, field: Field, value: Value) -> str:
        if not isinstance(value, str):
            raise invalid(f"the value of field [{field.spec.name}] is not of type {field.spec.type.name}")
        return value

    def _wildcard(self, query: q.Wildcard) -> Matches:
        field = self._term_field(query.field)
        fixed = re.split(r"[*?]", query.pattern)[0]
        whole = re.compile(fnmatch.translate(query.pattern.replace("[", "[[]")))
        terms = [t for t in field.terms.starting_with(fixed) if whole.match(t)]
        return self._any_of(field, terms, query.weight)

    def _geo(self, query: q.GeoDistance | q.GeoBox | q.GeoPolygon) -> Docs:
        field = self._index.field(query.field)
        if not isinstance(field, GeoField):
            raise _misused(field)
        match query:
            case q.GeoDistance():
                return field.near(asked_point(query.center), query.meters)
            case q.GeoBox():
                return field.inside_box(asked_point(query.top_left), asked_point(query.bottom_right))
            case q.GeoPolygon():
                return field.inside_polygon(tuple(asked_point(corner) for corner in query.corners))

    # -- combinations

    def _nested(self, query: q.Nested) -> Matches:
        field = self._index.field(query.path)
        if not isinstance(field, NestedField):
            raise _misused(field)
        found = Evaluator(field.inner).run(query.query)
        children = np.flatnonzero(found.mask)
        each: dict[int, list[float]] = {}
        for parent, score in zip(field.parents(children.tolist()), found.scores[children].tolist(), strict=True):
            each.setdefault(parent, []).append(score)
        scores = np.zeros(self._size)
        for parent, those in each.items():
            scores[parent] = _ONE_SCORE[query.mode](those) * query.weight
        return Matches(self._mask(np.array(list(each), np.uint32)), scores)

    def _bool(self, query: q.Bool) -> Matches:
        mask, scores = self._alive.copy(), np.zeros(self._size)
        for part in query.must:
            found = self.run(part)
            mask &= found.mask
            scores += found.scores
        for part in query.filter:
            mask &= self.run(part).mask
        for part in query.must_not:
            mask &= ~self.run(part).mask
        held = np.zeros(self._size, np.uint32)
        for part in query.should:
            found = self.run(part)
            held += found.mask
            scores += found.scores
        form = query.minimum or ("0" if query.must or query.filter else "1")
        mask &= held >= required(form, len(query.should))
        return Matches(mask, np.where(mask, scores * query.weight, 0.0))

    def _function_score(self, query: q.FunctionScore) -> Matches:
        field = self._index.field(query.field)
        if not isinstance(field, NumberField):
            raise _misused(field)
        found = self.run(query.query)
        factors, present = field.by_document(self._size, "min")
        return Matches(found.mask, found.scores * np.where(present, factors, 0))

    def _knn(self, query: q.Knn) -> Matches:
        field = self._index.field(query.field)
        if not isinstance(field, VectorField):
            raise _misused(field)
        vector = parse_vector(query.vector, field.spec.dimension)
        if vector is None:
            raise invalid(
                f"the query vector should have [{field.spec.dimension}] finite numbers, as field [{query.field}] has, "
                f"but it has [{len(query.vector)}]"
            )
        allowed = self._alive if query.filter is None else self.run(query.filter).mask
        docs, found = field.nearest(vector, query.k, allowed)
        self.cut |= len(docs) == query.k
        if query.min_score is not None:
            docs, found = docs[found > query.min_score], found[found > query.min_score]
        scores = np.zeros(self._size)
        scores[docs] = found * query.weight
        return Matches(self._mask(docs), scores)


def _misused(field: Field) -> OtsError:
    return invalid(f"field [{field.spec.name}] of type {field.spec.type.name} does not support this query")
