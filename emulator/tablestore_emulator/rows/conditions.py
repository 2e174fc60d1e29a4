"""Filters and column conditions: one language, used to hide rows from reads and to refuse writes."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from tablestore.protobuf import table_store_filter_pb2 as pb

from ..errors import invalid, unsupported
from ..protocol.plainbuffer import DOUBLE, INTEGER, STRING, Cell, Value, check_variant, from_variant
from ..protocol.protobufs import parse

MAX_CONDITIONS = 10
_RULE_CHARACTERS = 512  # of a value that a regular expression is tried on; with _RULE_CHOICES, under a second
_RULE_LENGTH = 100  # of the expression itself
_RULE_CHOICES = 2  # repeats and alternatives of one: each multiplies the ways to fit it
_PIECES = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^]\\]){0,100}\]|(?P<open>\(\?:|\((?!\?))|(?P<choice>(?:[*+?]|\{[\d,]*\})[?+]?|\|)|.",
    re.DOTALL,
)
_CASTS: dict[int, tuple[int, Callable[[str], Value]]] = {
    pb.VT_INTEGER: (INTEGER, int),
    pb.VT_DOUBLE: (DOUBLE, float),
    pb.VT_STRING: (STRING, str),
}


class Filter(Protocol):
    """Decides about one row, given its cells (newest version of a column first)."""

    def accepts(self, cells: Sequence[Cell]) -> bool: ...

    def trim(self, cells: list[Cell]) -> list[Cell]:
        """The cells that a read returns of an accepted row."""
        ...


def parse_filter(data: bytes) -> Filter | None:
    """The filter in a request's bytes; None for no bytes. Raises OTSParameterInvalid."""
    if not data:
        return None
    message = parse(pb.Filter, data)
    found = _build(message)
    if _count(found) > MAX_CONDITIONS:
        raise invalid(f"The number of filters exceeds the limit, limit count: {MAX_CONDITIONS}.")
    return found


def _build(message: Any) -> Filter:
    match message.type:
        case pb.FT_SINGLE_COLUMN_VALUE:
            return SingleColumn(parse(pb.SingleColumnValueFilter, message.filter))
        case pb.FT_COMPOSITE_COLUMN_VALUE:
            inner = parse(pb.CompositeColumnValueFilter, message.filter)
            return Composite(inner.combinator, [_build(sub) for sub in inner.sub_filters])
        case pb.FT_COLUMN_PAGINATION:
            page = parse(pb.ColumnPaginationFilter, message.filter)
            if page.offset < 0 or page.limit < 0:
                raise invalid("The offset and limit of a column pagination filter must not be negative.")
            return ColumnPagination(page.offset, page.limit)
    raise invalid("Invalid filter type.")


def _count(found: Filter) -> int:
    return sum(_count(sub) for sub in found.parts) if isinstance(found, Composite) else 1


class SingleColumn:
    """One column against one value."""

    def __init__(self, message: Any) -> None:
        self._name: str = message.column_name
        self._comparator: int = message.comparator
        self._variant: bytes = message.column_value
        self._passes_if_missing = not message.filter_if_missing
        self._latest_only: bool = message.latest_version_only
        self._rule = _TransferRule(message.value_trans_rule) if message.HasField("value_trans_rule") else None
        if self._comparator not in (pb.CT_EXIST, pb.CT_NOT_EXIST):
            self._value = from_variant(check_variant(self._variant))

    def accepts(self, cells: Sequence[Cell]) -> bool:
        versions = [cell.variant for cell in cells if cell.name == self._name and cell.variant is not None]
        if self._comparator in (pb.CT_EXIST, pb.CT_NOT_EXIST):
            return bool(bool(versions) == (self._comparator == pb.CT_EXIST))
        if not versions:
            return self._passes_if_missing
        return any(self._compare(variant) for variant in (versions[:1] if self._latest_only else versions))

    def trim(self, cells: list[Cell]) -> list[Cell]:
        return cells

    def _compare(self, variant: bytes) -> bool:
        kind, value = variant[0], from_variant(variant)
        if self._rule is not None:
            moved = self._rule.apply(value)
            if moved is None:
                return False
            kind, value = moved
        if kind != self._variant[0]:
            return bool(self._comparator == pb.CT_NOT_EQUAL)
        return compare(value, self._value, self._comparator)


def compare(left: Any, right: Any, comparator: int) -> bool:
    """Two values of one type, by a ComparatorType of the protocol."""
    if isinstance(left, str):  # Tablestore orders strings by their bytes, not by UTF-16 or locale
        left, right = left.encode(), right.encode()
    match comparator:
        case pb.CT_EQUAL:
            return bool(left == right)
        case pb.CT_NOT_EQUAL:
            return bool(left != right)
        case pb.CT_GREATER_THAN:
            return bool(left > right)
        case pb.CT_GREATER_EQUAL:
            return bool(left >= right)
        case pb.CT_LESS_THAN:
            return bool(left < right)
        case pb.CT_LESS_EQUAL:
            return bool(left <= right)
    raise invalid("Invalid comparator.")


class _TransferRule:
    """Takes a part out of a string by a regular expression and reads it as another type."""

    def __init__(self, message: Any) -> None:
        _check_rule(message.regex)
        try:
            self._pattern = re.compile(message.regex)
        except re.error:
            raise invalid("Invalid regular expression in filter.") from None
        if message.cast_type not in _CASTS:
            raise invalid("Invalid cast type in filter.")
        self._kind, self._cast = _CASTS[message.cast_type]

    def apply(self, value: Value) -> tuple[int, Value] | None:
        """(type, value), or None if the rule does not fit."""
        if isinstance(value, str) and len(value) > _RULE_CHARACTERS:
            raise unsupported(f"A regular expression on a value of more than {_RULE_CHARACTERS} characters")
        found = self._pattern.search(value) if isinstance(value, str) else None
        if found is None:
            return None
        try:
            return self._kind, self._cast(found[1] if self._pattern.groups else found[0])
        except ValueError:
            return None


def _check_rule(regex: str) -> None:
    """Refuse what backtracking could take for ever on: everybody would wait."""
    if len(regex) > _RULE_LENGTH:
        raise unsupported(f"A filter's regular expression of more than {_RULE_LENGTH} characters")
    choices, before = 0, ""
    for piece in _PIECES.finditer(regex):
        if piece["choice"]:
            choices += 1
            if before == ")" and piece[0] != "|":
                raise unsupported("A repeated group in a filter's regular expression")
        elif piece[0] == "(" and not piece["open"]:
            raise unsupported("A group with '(?' in a filter's regular expression")
        before = piece[0]
    if choices > _RULE_CHOICES:
        raise unsupported(f"A filter's regular expression with more than {_RULE_CHOICES} repeats and alternatives")


class Composite:
    """NOT, AND, OR over other filters."""

    def __init__(self, combinator: int, parts: list[Filter]) -> None:
        self._combinator = combinator
        self.parts = parts
        if len(parts) != 1 if combinator == pb.LO_NOT else len(parts) < 2:
            raise invalid("Invalid number of sub filters.")

    def accepts(self, cells: Sequence[Cell]) -> bool:
        if self._combinator == pb.LO_NOT:
            return not self.parts[0].accepts(cells)
        decide = all if self._combinator == pb.LO_AND else any
        return decide(part.accepts(cells) for part in self.parts)

    def trim(self, cells: list[Cell]) -> list[Cell]:
        for part in self.parts:
            cells = part.trim(cells)
        return cells


class ColumnPagination:
    """Some columns of a wide row: `limit` from `offset` on, in name order."""

    def __init__(self, offset: int, limit: int) -> None:
        self._offset = offset
        self._limit = limit

    def accepts(self, cells: Sequence[Cell]) -> bool:
        return True

    def trim(self, cells: list[Cell]) -> list[Cell]:
        chosen = set(_names(cells)[self._offset : self._offset + self._limit])
        return [cell for cell in cells if cell.name in chosen]


def _names(cells: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.name for cell in cells))
