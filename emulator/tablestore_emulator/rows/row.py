"""One row: what a read returns of it, and what a write makes of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import invalid
from ..protocol.plainbuffer import (
    DELETE_ALL_VERSIONS,
    DELETE_ONE_VERSION,
    INCREMENT,
    INTEGER,
    Cell,
    WireRow,
    decode_row,
    encode_cell,
    encode_row,
    from_variant,
    to_variant,
)
from ..storage.sqlite_storage import StoredRow
from ..tables.catalog import Table
from .conditions import Filter, parse_filter
from .limits import CAPACITY_UNIT, ROW_BYTES
from .schema import check_columns, check_columns_to_get, check_timestamp

_INT64 = range(-(1 << 63), 1 << 63)


def capacity_units(size: int) -> int:
    """Capacity units of `size` bytes: one per started 4 KB, at least one."""
    return max(1, math.ceil(size / CAPACITY_UNIT))


@dataclass(frozen=True, slots=True)
class View:
    """What a read asks for: versions, columns, filter."""

    columns: frozenset[str] = frozenset()
    start: str | None = None  # of a range of column names, inclusive
    end: str | None = None  # exclusive
    max_versions: int | None = None
    times: range | None = None
    row_filter: Filter | None = field(default=None, compare=False)

    @classmethod
    def of(cls, request: Any) -> "View":
        """From a GetRow, GetRange or BatchGetRow's table. Raises OTSParameterInvalid."""
        times = _time_range(request.time_range) if request.HasField("time_range") else None
        versions = request.max_versions if request.HasField("max_versions") else None
        if times is None and versions is None:
            raise invalid("No version condition is specified while querying row.")
        if versions is not None and versions <= 0:
            raise invalid("The max_versions must be greater than 0.")
        check_columns_to_get(request.columns_to_get)
        return cls(
            frozenset(request.columns_to_get),
            request.start_column if request.HasField("start_column") else None,
            request.end_column if request.HasField("end_column") else None,
            versions,
            times,
            parse_filter(request.filter),
        )

    def whole(self, table: Table) -> bool:
        """Whether a row can be sent as it is stored."""
        plain = not self.columns and self.start is None and self.end is None and self.row_filter is None
        return plain and self.times is None and table.time_to_live < 0 and not table.multi_version

    def wants(self, name: str) -> bool:
        if self.columns and name not in self.columns:
            return False
        return (self.start is None or name >= self.start) and (self.end is None or name < self.end)


def _time_range(message: Any) -> range:
    if message.HasField("specific_time"):
        return range(message.specific_time, message.specific_time + 1)
    if not (message.HasField("start_time") and message.HasField("end_time")):
        raise invalid("Invalid time range: start_time and end_time, or specific_time, must be set.")
    if message.start_time >= message.end_time:
        raise invalid("Invalid time range: start_time must be less than end_time.")
    return range(message.start_time, message.end_time)


def live_cells(table: Table, cells: Iterable[Cell], now: int) -> list[Cell]:
    """The cells that have not outlived the table's time to live, at most max_versions per column. `now` in ms."""
    oldest = now - table.time_to_live * 1000 if table.time_to_live >= 0 else None
    alive = [cell for cell in cells if oldest is None or (cell.timestamp or 0) > oldest]
    return newest(alive, table.max_versions) if table.multi_version else alive


def newest(cells: Iterable[Cell], versions: int) -> list[Cell]:
    """The first `versions` cells of each column; cells come sorted by name, newest first."""
    chosen: list[Cell] = []
    name, count = None, 0
    for cell in cells:
        name, count = cell.name, (count + 1 if cell.name == name else 1)
        if count <= versions:
            chosen.append(cell)
    return chosen


class Found(NamedTuple):
    """What a read makes of a row: its wire form (None: nothing of it is to be seen), and the bytes it was charged."""

    row: bytes | None
    size: int


def read(table: Table, stored: StoredRow, view: View, now: int) -> Found:
    """A stored row as `view` wants it. Charged is what was selected, also when the filter then hides it."""
    if view.whole(table):
        return Found(stored.data, stored.size)
    row, _ = decode_row(stored.data)
    size = sum(cell.size for cell in row.primary_key)
    cells = live_cells(table, row.cells, now)
    if row.cells and not cells:
        return Found(None, size)  # expired
    if view.times is not None:
        cells = [cell for cell in cells if cell.timestamp in view.times]
    if view.max_versions is not None:
        cells = newest(cells, view.max_versions)
    cells = [cell for cell in cells if view.wants(cell.name)]
    if not cells and not _shows_without_cells(table, row, view):
        return Found(None, size)
    size += sum(cell.size for cell in cells)
    if view.row_filter is not None:
        if not view.row_filter.accepts([*row.primary_key, *cells]):
            return Found(None, size)
        cells = view.row_filter.trim(cells)
    return Found(encode_row([cell.raw for cell in row.primary_key], [cell.raw for cell in cells]), size)


def _shows_without_cells(table: Table, row: WireRow, view: View) -> bool:
    asked_for_key = not view.columns.isdisjoint(table.key_names)
    return asked_for_key or (not view.columns and view.times is None and not row.cells)


def current(table: Table, stored: StoredRow | None, now: int) -> WireRow | None:
    """A stored row, decoded, without what has expired; None if it is not there (any more)."""
    if stored is None:
        return None
    row, _ = decode_row(stored.data)
    cells = live_cells(table, row.cells, now)
    if row.cells and not cells:
        return None
    row.cells = cells
    return row


def build(key: bytes, primary_key: Sequence[Cell], cells: Iterable[Cell]) -> StoredRow:
    """A row at rest from its cells, in any order. Raises OTSParameterInvalid beyond the size limit."""
    ordered = sorted(cells, key=lambda cell: (cell.name, -(cell.timestamp or 0)))
    size = sum(cell.size for cell in primary_key) + sum(cell.size for cell in ordered)
    if size > ROW_BYTES:
        raise invalid(f"The total data size of a row exceeds the limit, limit size: {ROW_BYTES}, data size: {size}.")
    return StoredRow(key, size, encode_row([cell.raw for cell in primary_key], [cell.raw for cell in ordered]))


def stamped(table: Table, name: str, variant: bytes, timestamp: int | None, now: int) -> Cell:
    """A cell with a version: the client's, if it gave one, else the server's clock in ms."""
    if timestamp is None:
        timestamp = now
    else:
        check_timestamp(table, timestamp, now)
    return Cell(name, variant, timestamp, None, encode_cell(name, variant, timestamp))


def put_cells(table: Table, cells: Sequence[Cell], now: int) -> list[Cell]:
    """The cells of a row that PutRow writes."""
    check_columns(table, cells)
    made: dict[tuple[str, int], Cell] = {}
    for cell in cells:
        if cell.variant is None or cell.op is not None:
            raise invalid(f"Invalid attribute column: '{cell.name}'.")
        new = stamped(table, cell.name, cell.variant, cell.timestamp, now)
        if (new.name, new.timestamp or 0) in made:
            raise invalid(f"Duplicated attribute column name: '{cell.name}'.")
        made[new.name, new.timestamp or 0] = new
    return _bounded(table, made.values())


def update_cells(table: Table, old: Sequence[Cell], changes: Sequence[Cell], now: int) -> list[Cell]:
    """The cells of a row after UpdateRow's puts, deletions and increments, in the order given."""
    check_columns(table, changes)
    cells = {(cell.name, cell.timestamp or 0): cell for cell in old}
    for change in changes:
        if change.op == DELETE_ALL_VERSIONS:
            cells = {at: cell for at, cell in cells.items() if cell.name != change.name}
        elif change.op == DELETE_ONE_VERSION:
            if change.timestamp is None:
                raise invalid(f"The version to delete of column '{change.name}' is missing.")
            cells.pop((change.name, change.timestamp), None)
        else:
            new = _changed(table, cells.values(), change, now)
            if not table.multi_version:
                cells = {
                    at: cell for at, cell in cells.items() if cell.name != change.name or at[1] > (new.timestamp or 0)
                }
            cells[new.name, new.timestamp or 0] = new
    return _bounded(table, cells.values())


def _changed(table: Table, cells: Iterable[Cell], change: Cell, now: int) -> Cell:
    if change.variant is None:
        raise invalid(f"The value of column '{change.name}' is missing.")
    if change.op is None:
        return stamped(table, change.name, change.variant, change.timestamp, now)
    if change.op != INCREMENT:
        raise invalid(f"Invalid update type of column '{change.name}'.")
    if change.variant[0] != INTEGER:
        raise invalid(f"The increment of column '{change.name}' must be an INTEGER.")
    latest = max((c for c in cells if c.name == change.name), key=lambda c: c.timestamp or 0, default=None)
    if latest is not None and latest.variant and latest.variant[0] != INTEGER:
        raise invalid(f"The type of column '{change.name}' is not INTEGER.")
    total = int(from_variant(change.variant)) + (int(from_variant(latest.variant)) if latest and latest.variant else 0)
    if total not in _INT64:
        raise invalid(f"The increment of column '{change.name}' overflows.")
    return stamped(table, change.name, to_variant(total), change.timestamp, now)


def _bounded(table: Table, cells: Iterable[Cell]) -> list[Cell]:
    ordered = sorted(cells, key=lambda cell: (cell.name, -(cell.timestamp or 0)))
    return newest(ordered, table.max_versions)
