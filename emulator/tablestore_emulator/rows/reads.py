"""GetRow and GetRange."""

from typing import Any

from tablestore.protobuf import table_store_pb2 as pb

from ..errors import invalid
from ..protocol.plainbuffer import WireRow, decode_one, decode_row, encode_buffer, encode_row
from ..storage.engine import Engine
from ..storage.sqlite_storage import StoredRow
from ..tables.catalog import Table
from .keys import encode_key
from .limits import RANGE_BYTES, RANGE_ROWS
from .row import View, capacity_units, read
from .schema import RANGE_MARKERS, check_key


class Reads:
    """The read APIs over one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_row(self, request: Any) -> Any:
        table = self._engine.table(request.table_name)
        row, units = self.one(table, request.primary_key, View.of(request))
        response = pb.GetRowResponse(row=row)
        response.consumed.capacity_unit.read, response.consumed.capacity_unit.write = units, 0
        return response

    def one(self, table: Table, key: bytes, view: View) -> tuple[bytes, int]:
        """A buffer with the row, or empty; and the read units."""
        values = check_key(table, decode_one(key).primary_key)
        stored = self._engine.storage.get(table.id, encode_key(values))
        if stored is None:
            return b"", 1
        found = read(table, stored, view, self._engine.now())
        return encode_buffer([found.row]) if found.row else b"", capacity_units(found.size)

    def get_range(self, request: Any) -> Any:
        """At most 5,000 rows or 4 MB of the columns asked for, filtered rows included; then a key to go on from."""
        table = self._engine.table(request.table_name)
        if request.HasField("limit") and request.limit <= 0:
            raise invalid("The limit must be greater than 0.")
        start, end = (
            _bound(table, request.inclusive_start_primary_key),
            _bound(table, request.exclusive_end_primary_key),
        )
        backward = request.direction == pb.BACKWARD
        if backward and start <= end:
            raise invalid("Begin key must more than end key in BACKWARD")
        if not backward and start >= end:
            raise invalid("Begin key must less than end key in FORWARD")
        low, high = (end, start) if backward else (start, end)
        rows, size, following = self._range(table, request, low, high, backward)
        response = pb.GetRangeResponse(rows=encode_buffer(rows) if rows else b"")
        response.consumed.capacity_unit.read, response.consumed.capacity_unit.write = capacity_units(size), 0
        if following is not None:
            response.next_start_primary_key = encode_buffer([_key_only(following)])
        return response

    def _range(
        self, table: Table, request: Any, low: bytes, high: bytes, backward: bool
    ) -> tuple[list[bytes], int, StoredRow | None]:
        """(rows, bytes read, the first row not looked at)."""
        view, now = View.of(request), self._engine.now()
        limit = request.limit if request.HasField("limit") else RANGE_ROWS
        rows: list[bytes] = []
        size = 0
        for scanned, stored in enumerate(self._engine.storage.scan(table.id, low, high, backward=backward)):
            if len(rows) >= limit or scanned >= RANGE_ROWS:
                return rows, size, stored
            found = read(table, stored, view, now)
            if scanned and size + found.size > RANGE_BYTES:
                return rows, size, stored
            size += found.size
            if found.row is not None:
                rows.append(found.row)
        return rows, size, None


def _bound(table: Table, data: bytes) -> bytes:
    return encode_key(check_key(table, decode_one(data).primary_key, markers=RANGE_MARKERS))


def _key_only(stored: StoredRow) -> bytes:
    row: WireRow = decode_row(stored.data)[0]
    return encode_row([cell.raw for cell in row.primary_key])
