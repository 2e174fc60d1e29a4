"""Checks of what a request holds against a table's schema and the service's limits."""

import re
from collections.abc import Sequence

from ..errors import OtsError, invalid
from ..protocol.plainbuffer import (
    AUTO_INCREMENT,
    BLOB,
    BOOLEAN,
    DOUBLE,
    INF_MAX,
    INF_MIN,
    INTEGER,
    STRING,
    Cell,
    variant_size,
)
from ..tables.catalog import PRIMARY_KEY_TYPES, Table
from .limits import COLUMN_BYTES, COLUMNS_PER_WRITE, COLUMNS_TO_GET, KEY_COLUMN_BYTES, NAME

_NAME = re.compile(NAME)
_KEY_KIND = {1: INTEGER, 2: STRING, 3: BLOB}
_KIND_NAMES = {INTEGER: "VT_INTEGER", DOUBLE: "VT_DOUBLE", BOOLEAN: "VT_BOOLEAN", STRING: "VT_STRING", BLOB: "VT_BLOB"}
_VALUES = frozenset(_KIND_NAMES)


def check_name(name: str, what: str) -> None:
    """`what` is the kind of name, as the service words it ("table name")."""
    if not _NAME.fullmatch(name):
        raise invalid(f"Invalid {what}: '{name}'.")


def check_key(table: Table, key: Sequence[Cell], *, markers: frozenset[int] = frozenset()) -> list[bytes]:
    """The values of a primary key. `markers` are the key markers allowed beside values. Raises OTSInvalidPK."""
    columns = table.primary_key
    if len(key) != len(columns):
        raise OtsError("OTSInvalidPK", f"Validate PK size fail. Input: {len(key)}, Meta: {len(columns)}.")
    for cell, column in zip(key, columns, strict=True):
        if cell.name != column.name:
            raise OtsError("OTSInvalidPK", f"Validate PK name fail. Input: {cell.name}, Meta: {column.name}.")
        kind = cell.variant[0] if cell.variant else -1
        if kind in markers or (kind == AUTO_INCREMENT and column.auto_increment and AUTO_INCREMENT in markers):
            continue
        if kind != _KEY_KIND[column.type]:
            given, expected = _KIND_NAMES.get(kind, "NULL"), PRIMARY_KEY_TYPES[column.type]
            raise OtsError("OTSInvalidPK", f"Validate PK type fail. Input: {given}, Meta: {expected}.")
        if cell.variant and variant_size(cell.variant) > KEY_COLUMN_BYTES:
            raise invalid(
                f"The length of primary key column: '{cell.name}' exceeds the MaxLength: {KEY_COLUMN_BYTES} "
                f"with CurrentLength: {variant_size(cell.variant)}."
            )
    return [cell.variant for cell in key if cell.variant]


RANGE_MARKERS = frozenset({INF_MIN, INF_MAX})
PUT_MARKERS = frozenset({AUTO_INCREMENT})


def check_columns(table: Table, cells: Sequence[Cell]) -> None:
    """Names, sizes and number of the attribute columns of a write."""
    if len(cells) > COLUMNS_PER_WRITE:
        raise invalid(
            "The number of columns from the request exceeds the limit, "
            f"limit count: {COLUMNS_PER_WRITE}, column count: {len(cells)}."
        )
    keys = table.key_names
    for cell in cells:
        if not _NAME.fullmatch(cell.name):
            raise invalid(f"Invalid column name: '{cell.name}'.")
        if cell.name in keys:
            raise invalid(f"Duplicated attribute column name with primary key column: '{cell.name}'.")
        if cell.variant is None:
            continue
        if cell.variant[0] not in _VALUES:
            raise invalid(f"Invalid type of attribute column: '{cell.name}'.")
        if variant_size(cell.variant) > COLUMN_BYTES:
            raise invalid(
                f"The length of attribute column: '{cell.name}' exceeds the MaxLength: {COLUMN_BYTES} "
                f"with CurrentLength: {variant_size(cell.variant)}."
            )


def check_timestamp(table: Table, timestamp: int, now: int) -> None:
    """A version given by the client must be near the server's clock (milliseconds), unless the table says otherwise."""
    if not 0 <= timestamp < 1 << 63 or abs(timestamp - now) > table.deviation * 1000:
        raise invalid(
            "Invalid timestamp: the cell version is out of range of the table's deviation_cell_version_in_sec."
        )


def check_columns_to_get(names: Sequence[str]) -> None:
    """At most 128."""
    if len(names) > COLUMNS_TO_GET:
        raise invalid(
            "The number of columns from the request exceeds the limit, "
            f"limit count: {COLUMNS_TO_GET}, column count: {len(names)}."
        )
