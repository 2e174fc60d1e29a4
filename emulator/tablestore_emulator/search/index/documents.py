"""The documents of an index: rows go in, and are known by number from then on."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import invalid, unsupported
from ..schema import FieldSpec, IndexSpec
from ..values import Key, Row, Value
from .fields import Field
from .postings import DROPPED, Mask
from .vectors import VectorField

COMPACT_FROM = 4096  # dead documents

# What a field's part of the index is made by; None for a type that is left out.
FieldFactory = Callable[[FieldSpec], Field | None]


@dataclass(slots=True)
class Document:
    """A row as the index knows it; of its columns, those that feed a field, without vectors."""

    key: Key
    row: Row


class Documents:
    """The documents of one index by number, and their fields.

    Not thread-safe: its owner lets one caller in at a time.
    """

    def __init__(self, spec: IndexSpec, make_field: FieldFactory, *, compact_from: int = COMPACT_FROM) -> None:
        """Dead documents are swept out once there are `compact_from` of them and they outnumber the living."""
        self.spec = spec
        self._compact_from = compact_from
        made = {f.name: make_field(f) for f in spec.fields.values() if f.indexed}
        self.fields = {name: field for name, field in made.items() if field is not None}
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
            field = self.fields.get(spec.name)
            if field is not None:
                field.add(number, value)
            if not isinstance(field, VectorField):
                kept[spec.column] = value
        self._documents.append(Document(key, Row(kept, row.head, row.at)))
        self._alive.append(1)
        self._numbers[key] = number

    def _kill(self, number: int) -> None:
        for field in self.fields.values():
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
        for field in self.fields.values():
            field.remap(renumbering)
        self._documents = [d for d in self._documents if d is not None]
        self._alive = bytearray(b"\x01" * len(self._documents))
        self._numbers = {d.key: number for number, d in enumerate(self._documents) if d is not None}

    # -- reading

    @property
    def size(self) -> int:
        """How many document numbers are in use, dead ones included."""
        return len(self._documents)

    def alive(self) -> Mask:
        return np.frombuffer(self._alive, np.bool_).copy()

    def field(self, name: str) -> Field:
        """Raises OTSParameterInvalid for an unknown field, OTSUnsupportOperation for one of a type left out."""
        found = self.fields.get(name)
        if found is not None:
            return found
        spec = self.spec.fields.get(name)
        if spec is None:
            raise invalid(f"field [{name}] does not exist in the index")
        if not spec.indexed:
            raise invalid(f"field [{name}] is not indexed")
        raise unsupported(f"Searching field [{name}] of type {spec.type.name}")

    def key(self, doc: int) -> Key:
        return self.document(doc).key

    def value(self, doc: int, spec: FieldSpec) -> Value | None:
        """What the document has in the field's column; None if nothing."""
        return self.document(doc).row.columns.get(spec.column)

    def key_places(self) -> NDArray[np.int64]:
        """By document number, its place in primary key order."""
        if self._places is None:
            self._places = np.zeros(self.size, np.int64)
            self._places[[self._numbers[key] for key in self._keys]] = np.arange(len(self._keys))
        return self._places

    def rows_before(self, key: Key, *, inclusive: bool) -> int:
        """How many rows come before `key`, or at it too."""
        return (bisect_right if inclusive else bisect_left)(self._keys, key)

    def document(self, doc: int) -> Document:
        """The living document of this number."""
        found = self._documents[doc]
        assert found is not None, "a dead document was looked at"  # noqa: S101 - an invariant of the masks
        return found
