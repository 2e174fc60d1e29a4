"""One search index, or one replica of it: rows go in, ordered pages of hits come out."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import invalid, unsupported
from .evaluate import Evaluator
from .fields import Field, KeywordField, NumberField
from .geo import GeoField
from .nested import NestedField
from .ordering import Cursor, arrange, cursor
from .postings import DROPPED, Mask
from .query import Request, ScoreSort
from .schema import FieldSpec, FieldType, IndexSpec
from .texts import FuzzyField, TextField
from .values import Key, Row, Value
from .vectors import VectorField

_KINDS: dict[FieldType, Callable[[FieldSpec], Field]] = {
    FieldType.LONG: NumberField,
    FieldType.DOUBLE: NumberField,
    FieldType.BOOLEAN: NumberField,
    FieldType.DATE: NumberField,
    FieldType.KEYWORD: KeywordField,
    FieldType.TEXT: lambda spec: (FuzzyField if spec.analyzer.name == "fuzzy" else TextField)(spec),
    FieldType.VECTOR: VectorField,
    FieldType.GEO_POINT: GeoField,
    FieldType.NESTED: lambda spec: NestedField(spec, SearchIndex(IndexSpec.of((), *spec.parts))),
}


@dataclass(slots=True)
class Document:
    """A row as the index knows it; of its columns, those that feed a field, without vectors."""

    key: Key
    row: Row


@dataclass(frozen=True, slots=True)
class Hit:
    """`row.columns` lacks vectors: see `SearchIndex.columns`. `doc` is good until the next write."""

    key: Key
    row: Row
    score: float | None  # None unless a sorter asked for it
    doc: int


@dataclass(frozen=True, slots=True)
class Page:
    hits: list[Hit]
    total: int
    next_token: bytes | None


class SearchIndex:
    """Not thread-safe: its owner lets one caller in at a time."""

    def __init__(self, spec: IndexSpec, *, compact_from: int = 4096) -> None:
        """Dead documents are swept out once there are `compact_from` of them and they outnumber the living."""
        self.spec = spec
        self._compact_from = compact_from
        self._fields = {f.name: _KINDS[f.type](f) for f in spec.fields.values() if f.type in _KINDS and f.indexed}
        self._documents: list[Document | None] = []  # by number; None is dead
        self._alive = bytearray()
        self._numbers: dict[Key, int] = {}
        self._keys: list[Key] = []  # in order
        self._places: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    # -- writing

    def apply(self, key: Key, row: Row | None) -> None:
        """The row at `key` is now `row`; None: it is gone."""
        old = self._numbers.pop(key, None)
        if old is not None:
            self._kill(old)
        if row is not None:
            self._add(key, row)
        if old is None and row is not None:
            self._insert_key(key)
        elif old is not None and row is None:
            del self._keys[bisect_left(self._keys, key)]
        self._places = None
        if self.size - len(self) > max(self._compact_from, len(self)):
            self._compact()

    def _add(self, key: Key, row: Row) -> None:
        number = len(self._documents)
        kept: dict[str, Value] = {}
        for spec in self.spec.fields.values():
            value = row.columns.get(spec.column)
            if value is None:
                continue
            field = self._fields.get(spec.name)
            if field is not None:
                field.add(number, value)
            if not isinstance(field, VectorField):
                kept[spec.column] = value
        self._documents.append(Document(key, Row(kept, row.head, row.at)))
        self._alive.append(1)
        self._numbers[key] = number

    def _kill(self, number: int) -> None:
        for field in self._fields.values():
            field.remove(number)
        self._documents[number] = None
        self._alive[number] = 0

    def _insert_key(self, key: Key) -> None:
        if not self._keys or key > self._keys[-1]:
            self._keys.append(key)
        else:
            insort(self._keys, key)

    def _compact(self) -> None:
        alive = self.alive()
        renumbering = np.where(alive, np.cumsum(alive) - 1, DROPPED).astype(np.int64)
        for field in self._fields.values():
            field.remap(renumbering)
        self._documents = [d for d in self._documents if d is not None]
        self._alive = bytearray(b"\x01" * len(self._documents))
        self._numbers = {d.key: number for number, d in enumerate(self._documents) if d is not None}

    # -- what evaluation and ordering look at

    @property
    def size(self) -> int:
        """How many document numbers are in use, dead ones included."""
        return len(self._documents)

    def alive(self) -> Mask:
        return np.frombuffer(self._alive, np.bool_).copy()

    def field(self, name: str) -> Field:
        """Raises OTSParameterInvalid for an unknown field, OTSUnsupportOperation for one of a type left out."""
        found = self._fields.get(name)
        if found is not None:
            return found
        spec = self.spec.fields.get(name)
        if spec is None:
            raise invalid(f"field [{name}] does not exist in the index")
        if not spec.indexed:
            raise invalid(f"field [{name}] is not indexed")
        raise unsupported(f"Searching field [{name}] of type {spec.type.name}")

    def key(self, doc: int) -> Key:
        return self._document(doc).key

    def value(self, doc: int, spec: FieldSpec) -> Value | None:
        """What the document has in the field's column; None if nothing."""
        return self._document(doc).row.columns.get(spec.column)

    def key_places(self) -> NDArray[np.int64]:
        """By document number, its place in primary key order."""
        if self._places is None:
            self._places = np.zeros(self.size, np.int64)
            self._places[[self._numbers[key] for key in self._keys]] = np.arange(len(self._keys))
        return self._places

    def rows_before(self, key: Key, *, inclusive: bool) -> int:
        """How many rows come before `key`, or at it too."""
        return (bisect_right if inclusive else bisect_left)(self._keys, key)

    def _document(self, doc: int) -> Document:
        found = self._documents[doc]
        assert found is not None, "a dead document was looked at"  # noqa: S101 - an invariant of the masks
        return found

    # -- reading

    def search(self, request: Request) -> Page:
        """One page. Raises OtsError for what the request gets wrong."""
        evaluator = Evaluator(self)
        matches = evaluator.run(request.query)
        after = Cursor.of(request.token) if request.token else None
        sort = after.sort if after else request.sort
        offset = 0 if after else request.offset
        ordered = arrange(self, matches, sort, after)
        page = ordered[offset : offset + request.limit]
        scored = any(isinstance(sorter, ScoreSort) for sorter in sort)
        hits = [self._hit(int(doc), float(matches.scores[doc]) if scored else None) for doc in page]
        # A full page of neighbours has a token even when they are all there are: there might be more of them in other
        # partitions. The official SDK's own KNN test expects it.
        more = len(ordered) > offset + len(page) or (evaluator.cut and len(page) == request.limit)
        # Without any sort, as in an index with nested fields, there is nothing to go on from.
        token = cursor(self, matches, sort, int(page[-1])).token() if sort and len(page) and more else None
        return Page(hits, int(matches.mask.sum()), token)

    def columns(self, hit: Hit) -> dict[str, Value]:
        """What the index itself can return of a hit, in the state that it knows; primary key columns left out."""
        found: dict[str, Value] = {}
        for name in self.spec.returnable():
            field = self._fields.get(name)
            stored = hit.row.columns.get(name)
            value = field.column(hit.doc) if isinstance(field, VectorField) else stored
            if value is not None:
                found[name] = value
        return found

    def _hit(self, doc: int, score: float | None) -> Hit:
        document = self._document(doc)
        return Hit(document.key, document.row, score, doc)
