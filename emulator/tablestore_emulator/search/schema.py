"""What an index holds: plain values, made from the protobuf schema by `wire`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class FieldType(Enum):
    LONG = 1
    DOUBLE = 2
    BOOLEAN = 3
    KEYWORD = 4
    TEXT = 5
    NESTED = 6
    GEO_POINT = 7
    DATE = 8
    VECTOR = 9
    JSON = 12


class Metric(Enum):
    EUCLIDEAN = 0
    COSINE = 1
    DOT_PRODUCT = 2


@dataclass(frozen=True, slots=True)
class Analyzer:
    """How a TEXT field is cut into tokens. Which options count depends on `name`."""

    name: str = "single_word"
    case_sensitive: bool = False
    delimit_word: bool = False  # single_word: also cut between letters and digits
    delimiter: str = " "  # split
    min_chars: int = 1  # fuzzy
    max_chars: int = 7  # fuzzy


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field. `source` is the column that feeds it: its own name, unless it is a virtual field."""

    name: str
    type: FieldType
    source: str = ""
    is_array: bool = False
    indexed: bool = True
    stored: bool = True
    analyzer: Analyzer = Analyzer()
    date_formats: tuple[str, ...] = ()
    dimension: int = 0
    metric: Metric = Metric.COSINE
    parts: tuple["FieldSpec", ...] = ()  # of a NESTED field, named by their whole path

    @property
    def column(self) -> str:
        return self.source or self.name

    @property
    def virtual(self) -> bool:
        return self.column != self.name


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """An index's fields by name, over a table whose primary key columns are `key_names`, in order."""

    key_names: tuple[str, ...]
    fields: dict[str, FieldSpec] = field(default_factory=dict)

    @classmethod
    def of(cls, key_names: Sequence[str], *fields: FieldSpec) -> "IndexSpec":
        return cls(tuple(key_names), {f.name: f for f in fields})

    def returnable(self) -> list[str]:
        """The columns that the index itself can return beside the primary key."""
        stored = [f.name for f in self.fields.values() if f.stored and not f.virtual]
        return [name for name in stored if name not in self.key_names]
