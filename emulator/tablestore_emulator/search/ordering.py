"""Sorting matches, and the token that continues where a page ended."""

import base64
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import invalid
from .evaluate import Matches
from .fields import KeywordField, NumberField, elements
from .query import FieldSort, KeySort, ScoreSort, Sorter
from .schema import FieldType
from .values import Key

if TYPE_CHECKING:
    from .index import SearchIndex

_KINDS: dict[str, type[ScoreSort] | type[KeySort] | type[FieldSort]] = {
    "score": ScoreSort,
    "key": KeySort,
    "field": FieldSort,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class Cursor:
    """The last row of a page: its values under each sorter, and its key. It finds its place again even when the row
    is gone or the answer comes from another replica."""

    def __init__(self, sort: tuple[Sorter, ...], values: list[Any], key: Key) -> None:
        self.sort = sort
        self.values = values
        self.key = key

    def token(self) -> bytes:
        content = {
            "sort": [{"kind": _NAMES[type(s)], **asdict(s)} for s in self.sort],
            "values": self.values,
            "key": base64.b64encode(self.key).decode(),
        }
        return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode())

    @classmethod
    def of(cls, token: bytes) -> "Cursor":
        """Raises OTSParameterInvalid for what is not one of our tokens."""
        try:
            content = json.loads(base64.urlsafe_b64decode(token))
            sort = tuple(_KINDS[s.pop("kind")](**s) for s in content["sort"])
            return cls(sort, [content["values"][i] for i in range(len(sort))], base64.b64decode(content["key"]))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise invalid("the token is invalid") from None


def arrange(
    index: "SearchIndex", matches: Matches, sort: tuple[Sorter, ...], after: Cursor | None
) -> NDArray[np.int64]:
    """The matching documents in order, from behind `after` on; rows that tie are in primary key order."""
    docs = np.flatnonzero(matches.mask)
    places = _places(index, docs, after)
    keys = [_ranks(index, matches, docs, sort, number, after, places) for number in range(len(sort))]
    # The cursor takes part as one more row, behind the document that it was made from.
    order = np.lexsort([places, *reversed(keys)])
    if after is not None:
        order = order[int(np.flatnonzero(order == len(docs))[0]) + 1 :]
    return docs[order]


def cursor(index: "SearchIndex", matches: Matches, sort: tuple[Sorter, ...], doc: int) -> Cursor:
    """The cursor that stands at `doc`."""
    one = np.array([doc])
    return Cursor(sort, [_values(index, matches, one, sorter)[0] for sorter in sort], index.key(doc))


def _places(index: "SearchIndex", docs: NDArray[np.int64], after: Cursor | None) -> NDArray[np.int64]:
    """Odd numbers in primary key order, which leaves room for a cursor between two rows."""
    places = 2 * index.key_places()[docs] + 1
    return places if after is None else np.append(places, 2 * index.place_after(after.key))


def _ranks(
    index: "SearchIndex",
    matches: Matches,
    docs: NDArray[np.int64],
    sort: tuple[Sorter, ...],
    number: int,
    after: Cursor | None,
    places: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Small is first. One for each of `docs`, then one for the cursor if there is one."""
    sorter = sort[number]
    if isinstance(sorter, KeySort):
        return _downward(places, after) if sorter.descending else places
    raw = _values(index, matches, docs, sorter) + ([] if after is None else [after.values[number]])
    missing = np.array([value is None for value in raw], np.bool_)
    present = np.empty(len(raw) - int(missing.sum()), np.float64 if isinstance(sorter, ScoreSort) else object)
    present[:] = [value for value in raw if value is not None]
    ranks = np.full(len(raw), len(raw), np.int64)  # rows without a value are last
    inverse = np.unique(present, return_inverse=True)[1].reshape(len(present))
    ranks[~missing] = -inverse if sorter.descending else inverse
    return ranks


def _downward(places: NDArray[np.int64], after: Cursor | None) -> NDArray[np.int64]:
    ranks = -places
    if after is not None:
        ranks[-1] += 2  # behind its own document from this side too
    return ranks


def _values(index: "SearchIndex", matches: Matches, docs: NDArray[np.int64], sorter: Sorter) -> list[Any]:
    """What `sorter` looks at, as JSON can hold it; a key is in the cursor anyway."""
    if isinstance(sorter, ScoreSort):
        found: list[Any] = matches.scores[docs].tolist()
        return found
    if isinstance(sorter, KeySort):
        return [None] * len(docs)
    return [_field_value(index, int(doc), sorter) for doc in docs]


def _field_value(index: "SearchIndex", doc: int, sorter: FieldSort) -> Any:
    field = index.field(sorter.field)
    if not isinstance(field, KeywordField | NumberField):
        raise invalid(f"field [{sorter.field}] of type {field.spec.type.name} does not support sorting")
    column = index.value(doc, field.spec)
    if column is None:
        return None
    raw = elements(column) if field.spec.is_array else [column]
    if isinstance(field, NumberField):
        values: list[Any] = [n for v in raw if (n := field.number(v)) is not None]
    else:
        values = [v for v in raw if isinstance(v, str)]
    if not values:
        return None
    mode = sorter.mode or ("max" if sorter.descending else "min")
    if mode == "avg":
        if field.spec.type not in (FieldType.LONG, FieldType.DOUBLE):
            raise invalid(f"field [{sorter.field}] does not support sort mode AVG")
        return sum(values) / len(values)
    return max(values) if mode == "max" else min(values)
