"""One class per kind of field: what it takes from a column's value, and which documents hold what."""

import json
import math
from abc import ABC, abstractmethod
from array import array
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import invalid
from ..schema import FieldSpec, FieldType
from ..values import Value
from .dates import milliseconds
from .postings import NO_DOCS, Docs, Mask, Postings, Renumbering, Terms, documents, renumber

KEYWORD_BYTES = 4096  # a longer value is stored but not indexed
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


class Field(ABC):
    """A field's part of the index. A value that does not fit the type is skipped, as in the cloud: the row is found
    by its other fields."""

    def __init__(self, spec: FieldSpec) -> None:
        self.spec = spec
        self._present: array[int] = array("I")

    def add(self, doc: int, value: Value) -> None:
        """Index `value` (of an array field: the JSON text of the elements) as `doc`, the highest number so far."""
        if self._index(doc, elements(value) if self.spec.is_array else [value]):
            self._present.append(doc)

    def present(self) -> Docs:
        """The documents with a value here; dead ones included."""
        return documents(self._present)

    def remove(self, doc: int) -> None:  # noqa: B027 - only vectors give anything back before a compaction
        """`doc` is dead."""

    def remap(self, renumbering: Renumbering) -> None:
        self._present, _ = renumber(self._present, renumbering)

    @abstractmethod
    def _index(self, doc: int, values: list[Any]) -> bool:
        """Whether any of `values` was taken."""


def elements(value: Value) -> list[Any]:
    """The elements of an array column, which is written as JSON text; a value that is no array has none."""
    if not isinstance(value, str):
        return []
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


class TermField(Field, ABC):
    """A field with a dictionary of its terms: KEYWORD, and TEXT unless it is fuzzy."""

    @property
    @abstractmethod
    def terms(self) -> Terms[Any]: ...


class KeywordField(TermField):
    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._terms: Terms[Postings] = Terms(Postings)

    @property
    def terms(self) -> Terms[Postings]:
        return self._terms

    def _index(self, doc: int, values: list[Any]) -> bool:
        taken = {v for v in values if isinstance(v, str) and len(v.encode(errors="replace")) <= KEYWORD_BYTES}
        for value in taken:
            self._terms.at(value).docs.append(doc)
        return bool(taken)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        self._terms.remap(renumbering)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class NumberField(Field):
    """LONG, DOUBLE, BOOLEAN and DATE: pairs of a document and a number, scanned by numpy."""

    _TYPECODES: ClassVar[dict[FieldType, str]] = {FieldType.DOUBLE: "d"}

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._code = self._TYPECODES.get(spec.type, "q")
        self._docs: array[int] = array("I")
        self._values: array[Any] = array(self._code)

    def number(self, value: Any) -> int | float | None:
        """`value` as this field keeps it; None if it does not fit."""
        match self.spec.type:
            case FieldType.BOOLEAN:
                return int(value) if isinstance(value, bool) else None
            case FieldType.DATE:
                return milliseconds(value, self.spec.date_formats)
            case FieldType.DOUBLE:
                return float(value) if _is_number(value) else None
        fits = isinstance(value, int) and not isinstance(value, bool) and LONG_MIN <= value <= LONG_MAX
        return int(value) if fits else None

    def asked(self, value: Value) -> int | float:
        """A query's value: also a number written as text, or "true". Raises OTSParameterInvalid."""
        found = self.number(value)
        if found is None and isinstance(value, str):
            found = self._from_text(value.strip())
        if found is None and self.spec.type is FieldType.LONG and isinstance(value, float):
            found = value  # a bound between two whole numbers
        if found is None:
            raise invalid(f"the value of field [{self.spec.name}] is not of type {self.spec.type.name}")
        return found

    def pairs(self) -> tuple[Docs, NDArray[Any]]:
        """(documents, values), of equal length, in the order of the documents; dead ones included."""
        return documents(self._docs), np.array(self._values, np.float64 if self._code == "d" else np.int64)

    def between(self, low: int | float | None, high: int | float | None, include_low: bool, include_high: bool) -> Docs:
        docs, values = self.pairs()
        inside = np.ones(len(docs), np.bool_)
        if low is not None:
            inside &= values >= low if include_low else values > low
        if high is not None:
            inside &= values <= high if include_high else values < high
        return docs[inside]

    def equal(self, *wanted: int | float) -> Docs:
        docs, values = self.pairs()
        return docs[np.isin(values, wanted)] if wanted else NO_DOCS

    def by_document(self, documents: int, mode: str) -> tuple[NDArray[Any], Mask]:
        """(numbers, present), by document number; `mode` "min", "max" or "avg" chooses among an array's elements."""
        docs, values = self.pairs()
        present = np.zeros(documents, np.bool_)
        present[docs] = True
        if mode == "avg":
            sums, counts = np.zeros(documents), np.zeros(documents)
            np.add.at(sums, docs, values)
            np.add.at(counts, docs, 1)
            return sums / np.maximum(counts, 1), present
        found = np.zeros(documents, values.dtype)
        found[docs] = values
        if self.spec.is_array:
            (np.maximum if mode == "max" else np.minimum).at(found, docs, values)
        return found, present

    def _from_text(self, text: str) -> int | float | None:
        if self.spec.type is FieldType.BOOLEAN:
            return {"true": 1, "false": 0}.get(text.lower())
        try:
            return self.number(float(text) if self.spec.type is FieldType.DOUBLE else int(text))
        except ValueError:
            return None

    def _index(self, doc: int, values: list[Any]) -> bool:
        numbers = [n for v in values if (n := self.number(v)) is not None]
        for number in numbers:
            self._docs.append(doc)
            self._values.append(number)
        return bool(numbers)

    def remap(self, renumbering: Renumbering) -> None:
        super().remap(renumbering)
        self._docs, kept = renumber(self._docs, renumbering)
        self._values = array(self._code, self._values_kept(kept))

    def _values_kept(self, kept: NDArray[np.bool_]) -> bytes:
        return np.array(self._values, np.float64 if self._code == "d" else np.int64)[kept].tobytes()
