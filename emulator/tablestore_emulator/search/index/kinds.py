"""Which class indexes a field of which type."""

from collections.abc import Callable

from ..schema import FieldSpec, FieldType, IndexSpec
from .documents import Documents
from .fields import Field, KeywordField, NumberField
from .geo import GeoField
from .nested import NestedField
from .texts import FuzzyField, TextField
from .vectors import VectorField


def make_field(spec: FieldSpec) -> Field | None:
    """The empty field of `spec`; None for a type that is left out."""
    kind = _KINDS.get(spec.type)
    return None if kind is None else kind(spec)


def _text_field(spec: FieldSpec) -> Field:
    return FuzzyField(spec) if spec.analyzer.name == "fuzzy" else TextField(spec)


def _nested_field(spec: FieldSpec) -> Field:
    return NestedField(spec, Documents(IndexSpec.of((), *spec.parts), make_field))


_KINDS: dict[FieldType, Callable[[FieldSpec], Field]] = {
    FieldType.LONG: NumberField,
    FieldType.DOUBLE: NumberField,
    FieldType.BOOLEAN: NumberField,
    FieldType.DATE: NumberField,
    FieldType.KEYWORD: KeywordField,
    FieldType.TEXT: _text_field,
    FieldType.VECTOR: VectorField,
    FieldType.GEO_POINT: GeoField,
    FieldType.NESTED: _nested_field,
}
