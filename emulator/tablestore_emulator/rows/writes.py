"""PutRow, UpdateRow and DeleteRow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tablestore.protobuf import table_store_pb2 as pb

from ..errors import OtsError, invalid
from ..protocol.plainbuffer import (
    AUTO_INCREMENT,
    Cell,
    WireRow,
    decode_one,
    encode_buffer,
    encode_cell,
    encode_row,
    to_variant,
)
from ..storage.engine import Engine
from ..tables.catalog import Table
from .conditions import parse_filter
from .keys import encode_key
from .row import build, capacity_units, current, put_cells, update_cells
from .schema import PUT_MARKERS, check_columns, check_key


@dataclass(slots=True)
class Outcome:
    """What a write consumed, and the row to return (empty: none)."""

    read_units: int
    write_units: int
    row: bytes = b""

    def fill(self, response: Any) -> Any:
        response.consumed.capacity_unit.read = self.read_units
        response.consumed.capacity_unit.write = self.write_units
        if self.row:
            response.row = self.row
        return response


class Writes:
    """The write APIs over one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put_row(self, request: Any) -> Any:
        table = self._engine.table(request.table_name)
        return self.put(table, request.row, request.condition, request.return_content).fill(pb.PutRowResponse())

    def update_row(self, request: Any) -> Any:
        table = self._engine.table(request.table_name)
        outcome = self.update(table, request.row_change, request.condition, request.return_content)
        return outcome.fill(pb.UpdateRowResponse())

    def delete_row(self, request: Any) -> Any:
        table = self._engine.table(request.table_name)
        outcome = self.delete(table, request.primary_key, request.condition, request.return_content)
        return outcome.fill(pb.DeleteRowResponse())

    def put(self, table: Table, data: bytes, condition: Any, returning: Any) -> Outcome:
        row = decode_one(data)
        _no_delete_marker(row)
        values = check_key(table, row.primary_key, markers=PUT_MARKERS)
        now = self._engine.now()
        cells = put_cells(table, row.cells, now)
        if any(value[0] == AUTO_INCREMENT for value in values):
            row.primary_key, values = self._numbered(row.primary_key)
        key = encode_key(values)

        def change(_: WireRow | None) -> WireRow:
            return WireRow(row.primary_key, cells, False)

        size = sum(cell.size for cell in (*row.primary_key, *row.cells))
        return self._apply(table, key, row.primary_key, change, condition, returning, size)

    def update(self, table: Table, data: bytes, condition: Any, returning: Any) -> Outcome:
        row = decode_one(data)
        _no_delete_marker(row)
        key = encode_key(check_key(table, row.primary_key))
        if not table.allow_update:
            raise invalid(f"UpdateRow is not allowed on table '{table.name}': its allow_update is false.")
        if not row.cells:
            raise invalid("Attribute column is missing.")
        check_columns(table, row.cells)
        now = self._engine.now()

        def change(old: WireRow | None) -> WireRow | None:
            cells = update_cells(table, old.cells if old else [], row.cells, now)
            if old is None and not cells:
                return None  # deletions alone do not make a row
            return WireRow(row.primary_key, cells, False)

        size = sum(cell.size for cell in (*row.primary_key, *row.cells))
        return self._apply(table, key, row.primary_key, change, condition, returning, size)

    def delete(self, table: Table, data: bytes, condition: Any, returning: Any) -> Outcome:
        row = decode_one(data)
        key = encode_key(check_key(table, row.primary_key))
        size = sum(cell.size for cell in row.primary_key)
        return self._apply(table, key, row.primary_key, lambda _: None, condition, returning, size)

    def _apply(
        self,
        table: Table,
        key: bytes,
        primary_key: list[Cell],
        change: Callable[[WireRow | None], WireRow | None],
        condition: Any,
        returning: Any,
        size: int,
    ) -> Outcome:
        if table.base is not None:
            raise invalid(f"Writing to the index '{table.name}' is not allowed.")
        before = self._engine.storage.get(table.id, key)
        old = current(table, before, self._engine.now())
        checked = _check_condition(condition, old, primary_key)
        new = change(old)
        after = build(key, primary_key, new.cells) if new is not None else None
        if before is not None or after is not None:
            self._engine.replace(table, key, before, after)
        return Outcome(int(checked), capacity_units(size), _returned(returning, primary_key, new))

    def _numbered(self, primary_key: list[Cell]) -> tuple[list[Cell], list[bytes]]:
        """The key with its auto-increment column set: growing within a partition, as the service promises."""
        number = self._engine.next_number()
        made = [
            cell
            if cell.variant and cell.variant[0] != AUTO_INCREMENT
            else Cell(cell.name, to_variant(number), None, None, encode_cell(cell.name, to_variant(number)))
            for cell in primary_key
        ]
        return made, [cell.variant for cell in made if cell.variant]


def _no_delete_marker(row: WireRow) -> None:
    if row.delete_marker:
        raise invalid("The row must not have a delete marker.")


def _check_condition(condition: Any, old: WireRow | None, primary_key: list[Cell]) -> bool:
    """Whether anything had to be read; raises OTSConditionCheckFail."""
    expected = condition.row_existence
    if (expected == pb.EXPECT_EXIST and old is None) or (expected == pb.EXPECT_NOT_EXIST and old is not None):
        raise OtsError("OTSConditionCheckFail")
    column_condition = parse_filter(condition.column_condition)
    if column_condition is not None and not column_condition.accepts([*primary_key, *(old.cells if old else ())]):
        raise OtsError("OTSConditionCheckFail")
    return bool(expected != pb.IGNORE or column_condition is not None)


def _returned(returning: Any, primary_key: list[Cell], new: WireRow | None) -> bytes:
    keys = [cell.raw for cell in primary_key]
    if returning.return_type == pb.RT_PK:
        return encode_buffer([encode_row(keys)])
    if returning.return_type == pb.RT_AFTER_MODIFY:
        names = set(returning.return_column_names)
        cells = [cell.raw for cell in (new.cells if new else ()) if cell.name in names]
        return encode_buffer([encode_row(keys, cells)])
    return b""
