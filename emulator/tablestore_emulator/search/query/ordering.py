"""Sorting matches, and the token that continues where a page ended."""

import base64
import json
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import invalid
from ..index.documents import Documents
from ..index.fields import KeywordField, NumberField, elements
from ..index.postings import Mask
from ..values import Key, Value
from .evaluate import Matches
from .queries import FieldSort, KeySort, ScoreSort, Sorter

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


def arrange(index: Documents, matches: Matches, sort: tuple[Sorter, ...], after: Cursor | None) -> NDArray[np.int64]:
    """The matching documents in order, from behind `after` on; rows that tie are in primary key order."""
    docs = np.flatnonzero(matches.mask)
    keys = []
    for number, sorter in enumerate(sort):
        if isinstance(sorter, KeySort):
            keys.append(_places(index, docs, after, sorter.descending))
            continue
        values, missing = _column(index, matches, docs, sorter)
        if after is not None:  # the cursor takes part as one more row, behind the document that it was made from
            values, missing = _with(values, missing, after.values[number])
        keys.append(_ranks(values, missing, sorter.descending))
    keys.append(_places(index, docs, after, descending=False))
    order = np.lexsort(keys[::-1])
    if after is not None:
        order = order[int(np.flatnonzero(order == len(docs))[0]) + 1 :]
    return docs[order]


def cursor(index: Documents, matches: Matches, sort: tuple[Sorter, ...], doc: int) -> Cursor:
    """The cursor that stands at `doc`."""
    one = np.array([doc])
    values = [None if isinstance(s, KeySort) else _raw(*_column(index, matches, one, s)) for s in sort]
    return Cursor(sort, values, index.key(doc))


def _raw(values: NDArray[Any], missing: Mask) -> Any:
    """The only value, as JSON can hold it."""
    return None if missing[0] else values.tolist()[0]


def _places(index: Documents, docs: NDArray[np.int64], after: Cursor | None, descending: bool) -> NDArray[np.int64]:
    """Ranks in primary key order: odd numbers, which leaves room for a cursor right behind its document."""
    places = 2 * index.key_places()[docs] + 1
    if after is not None:
        places = np.append(places, 2 * index.rows_before(after.key, inclusive=not descending))
    return -places if descending else places


def _with(values: NDArray[Any], missing: Mask, last: Any) -> tuple[NDArray[Any], Mask]:
    try:
        return np.append(values, np.array([0 if last is None else last], values.dtype)), np.append(
            missing, last is None
        )
    except (ValueError, TypeError, OverflowError):
        raise invalid("the token is invalid") from None


def _ranks(values: NDArray[Any], missing: Mask, descending: bool) -> NDArray[np.int64]:
    """Small is first; rows without a value are last either way."""
    ranks = np.full(len(values), len(values), np.int64)
    inverse = np.unique(values[~missing], return_inverse=True)[1].reshape(-1)
    ranks[~missing] = -inverse if descending else inverse
    return ranks


def _column(
    index: Documents, matches: Matches, docs: NDArray[np.int64], sorter: ScoreSort | FieldSort
) -> tuple[NDArray[Any], Mask]:
    """For each of `docs` the value that `sorter` looks at, and whether it is missing."""
    if isinstance(sorter, ScoreSort):
        return matches.scores[docs], np.zeros(len(docs), np.bool_)
    field = index.field(sorter.field)
    mode = sorter.mode or ("max" if sorter.descending else "min")
    if isinstance(field, NumberField):
        numbers, present = field.by_document(index.size, mode)
        return numbers[docs], ~present[docs]
    if not isinstance(field, KeywordField) or mode == "avg":
        raise invalid(f"field [{sorter.field}] of type {field.spec.type.name} does not support this sort")
    words = np.empty(len(docs), object)
    words[:] = [_word(index.value(int(doc), field.spec), field.spec.is_array, mode) for doc in docs]
    return words, np.array([word is None for word in words], np.bool_)


def _word(value: Value | None, is_array: bool, mode: str) -> str | None:
    if value is None:
        return None
    words = [w for w in (elements(value) if is_array else [value]) if isinstance(w, str)]
    return (max(words) if mode == "max" else min(words)) if words else None
