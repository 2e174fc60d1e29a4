"""A search request as plain values, made from the wire by `wire`."""

from dataclasses import dataclass, field
from typing import Union

from ..values import Value


@dataclass(frozen=True, slots=True)
class MatchAll:
    """Every row, score 1."""


@dataclass(frozen=True, slots=True)
class Match:
    """Tokens of `text`: any `minimum` of them (see `Minimum`), or all if `every`."""

    field: str
    text: str
    every: bool = False
    minimum: str = "1"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class MatchPhrase:
    """Tokens of `text` in order, together moved by at most `slop` places."""

    field: str
    text: str
    slop: int = 0
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Terms:
    """A value equal to one of `values`; of a TEXT field: a token. `scored`: one value, weighed by its rarity."""

    field: str
    values: tuple[Value, ...]
    scored: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Range:
    """A value (of a TEXT field: a token) between two bounds; None is an open end."""

    field: str
    low: Value | None = None
    high: Value | None = None
    include_low: bool = False
    include_high: bool = False


@dataclass(frozen=True, slots=True)
class Prefix:
    field: str
    prefix: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`pattern` with * for any characters and ? for one."""

    field: str
    pattern: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Exists:
    field: str


@dataclass(frozen=True, slots=True)
class GeoDistance:
    """A point, as "latitude,longitude" throughout, at most `meters` from `center`."""

    field: str
    center: str
    meters: float


@dataclass(frozen=True, slots=True)
class GeoBox:
    field: str
    top_left: str
    bottom_right: str


@dataclass(frozen=True, slots=True)
class GeoPolygon:
    field: str
    corners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Nested:
    """Rows with an object in `path` that matches. `mode` ("avg", "max", "min", "total", "none") makes one score of
    those of the matching objects."""

    path: str
    query: "Query"
    mode: str = "none"
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Bool:
    """`minimum` of `should` has to match; None: 1, or 0 beside a must or a filter."""

    must: tuple["Query", ...] = ()
    must_not: tuple["Query", ...] = ()
    filter: tuple["Query", ...] = ()
    should: tuple["Query", ...] = ()
    minimum: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class ConstScore:
    filter: "Query"


@dataclass(frozen=True, slots=True)
class FunctionScore:
    """`query`, its score multiplied by the number in `field` (0 where there is none)."""

    query: "Query"
    field: str


@dataclass(frozen=True, slots=True)
class Knn:
    """The `k` rows nearest to `vector` among those that `filter` lets through, with a score above `min_score`."""

    field: str
    vector: tuple[float, ...]
    k: int
    filter: Union["Query", None] = None
    min_score: float | None = None
    weight: float = 1.0


Leaf = MatchAll | Match | MatchPhrase | Terms | Range | Prefix | Wildcard | Exists | GeoDistance | GeoBox | GeoPolygon
Query = Leaf | Nested | Bool | ConstScore | FunctionScore | Knn


@dataclass(frozen=True, slots=True)
class ScoreSort:
    descending: bool = True


@dataclass(frozen=True, slots=True)
class KeySort:
    descending: bool = False


@dataclass(frozen=True, slots=True)
class FieldSort:
    """`mode` ("min", "max", "avg") says which of an array's elements counts; None: min ascending, max descending.
    Rows without a value come last either way."""

    field: str
    descending: bool = False
    mode: str | None = None


Sorter = ScoreSort | KeySort | FieldSort


@dataclass(frozen=True, slots=True)
class Request:
    """`token` is that of an earlier page; it brings its own sort, and `sort` and `offset` are then not looked at."""

    query: Query
    sort: tuple[Sorter, ...] = field(default=(KeySort(),))  # empty: primary key order, but only one page
    offset: int = 0
    limit: int = 10
    token: bytes | None = None
