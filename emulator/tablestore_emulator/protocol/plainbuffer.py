"""PlainBuffer, the row encoding of Tablestore's protocol, with every checksum verified and written.

    buffer  = int32LE 0x75, row*
    row     = [0x01 cell*] [0x02 cell*] [0x08] 0x09 crc8
    cell    = 0x03 0x04 len32 name [0x05 len32 variant] [0x06 op] [0x07 int64 timestamp] 0x0A crc8
    variant = type, payload (strings and blobs: len32, bytes)

Values stay in wire form (`variant`) until someone needs to look at them, so most reads copy bytes and compute nothing.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fastcrc import crc8

from ..errors import invalid

HEADER: Final = struct.pack("<i", 0x75)

ROW_PK, ROW_DATA, CELL, CELL_NAME, CELL_VALUE, CELL_OP, CELL_TIMESTAMP = 1, 2, 3, 4, 5, 6, 7
DELETE_MARKER, ROW_CHECKSUM, CELL_CHECKSUM = 8, 9, 10

INTEGER, DOUBLE, BOOLEAN, STRING, BLOB = 0, 1, 2, 3, 7
INF_MIN, INF_MAX, AUTO_INCREMENT = 9, 10, 11

DELETE_ALL_VERSIONS, DELETE_ONE_VERSION, INCREMENT = 1, 3, 4

Value = int | float | bool | str | bytes

_FIXED = {INTEGER: 9, DOUBLE: 9, BOOLEAN: 2, INF_MIN: 1, INF_MAX: 1, AUTO_INCREMENT: 1}
_int32 = struct.Struct("<i")
_uint32 = struct.Struct("<I")
_int64 = struct.Struct("<q")
_double = struct.Struct("<d")


@dataclass(slots=True)
class Cell:
    """A column's value, or an operation on a column. `raw` is the whole cell as it stands on the wire."""

    name: str
    variant: bytes | None
    timestamp: int | None
    op: int | None
    raw: bytes

    @property
    def size(self) -> int:
        """Bytes that Tablestore counts for it: name and value, without the encoding around them."""
        return len(self.name.encode()) + (variant_size(self.variant) if self.variant else 0)


@dataclass(slots=True)
class WireRow:
    """One decoded row."""

    primary_key: list[Cell]
    cells: list[Cell]
    delete_marker: bool


def variant_size(variant: bytes) -> int:
    """Bytes that Tablestore counts for a value."""
    return len(variant) - (5 if variant[0] in (STRING, BLOB) else 1)


def to_variant(value: Value) -> bytes:
    """A Python value in wire form. Raises OverflowError-like struct.error beyond 64 bits."""
    match value:
        case bool():
            return bytes((BOOLEAN, value))
        case int():
            return b"\x00" + _int64.pack(value)
        case float():
            return b"\x01" + _double.pack(value)
        case str():
            data = value.encode()
            return b"\x03" + _uint32.pack(len(data)) + data
        case bytes():
            return b"\x07" + _uint32.pack(len(value)) + value


def from_variant(variant: bytes) -> Value:
    """The Python value of a variant; the key markers (INF_MIN ...) have none."""
    kind = variant[0]
    if kind == INTEGER:
        return int(_int64.unpack_from(variant, 1)[0])
    if kind == STRING:
        return variant[5:].decode()
    if kind == BLOB:
        return variant[5:]
    if kind == DOUBLE:
        return float(_double.unpack_from(variant, 1)[0])
    if kind == BOOLEAN:
        return variant[1] != 0
    raise invalid(f"Unsupported value type: {kind}.")


def check_variant(variant: bytes) -> bytes:
    """`variant` itself, if it is one whole value; raises OTSParameterInvalid."""
    kind = variant[0] if variant else -1
    if kind in (STRING, BLOB):
        if len(variant) < 5 or _uint32.unpack_from(variant, 1)[0] != len(variant) - 5:
            raise invalid("Invalid value length in PlainBuffer.")
        if kind == STRING:
            _utf8(variant[5:])
    elif _FIXED.get(kind) != len(variant):
        raise invalid(f"Invalid value of type {kind} in PlainBuffer.")
    return variant


def encode_cell(name: str, variant: bytes | None, timestamp: int | None = None, op: int | None = None) -> bytes:
    """One cell. The checksum covers the timestamp before the op, although the op comes first on the wire."""
    raw_name = name.encode()
    parts = [b"\x03\x04", _uint32.pack(len(raw_name)), raw_name]
    covered = raw_name
    if variant is not None:
        parts += [b"\x05", _uint32.pack(len(variant)), variant]
        covered += variant
    if op is not None:
        parts += [b"\x06", bytes((op,))]
    if timestamp is not None:
        stamp = _int64.pack(timestamp)
        parts += [b"\x07", stamp]
        covered += stamp
    if op is not None:
        covered += bytes((op,))
    parts += [b"\x0a", bytes((crc8.smbus(covered),))]
    return b"".join(parts)


def encode_row(primary_key: Sequence[bytes], cells: Sequence[bytes] = ()) -> bytes:
    """One row, without the header, from encoded cells."""
    checksum = crc8.smbus(bytes([raw[-1] for raw in primary_key]) + bytes([raw[-1] for raw in cells]) + b"\x00")
    data = b"\x02" + b"".join(cells) if cells else b""
    return b"".join((b"\x01", *primary_key, data, b"\x09", bytes((checksum,))))


def encode_buffer(rows: Iterable[bytes]) -> bytes:
    """A header and rows."""
    return HEADER + b"".join(rows)


def decode_one(data: bytes) -> WireRow:
    """The single row of a buffer. Raises OTSParameterInvalid on anything else."""
    if data[:4] != HEADER:
        raise invalid("Invalid header of PlainBuffer.")
    row, end = decode_row(data, 4)
    if data[end:].strip(b"\x00"):  # zeros: the Node.js SDK (5.6.5) reserves a byte too many for INF_MIN and INF_MAX
        raise invalid("Expect one row in PlainBuffer, but there is more.")
    return row


def decode_buffer(data: bytes) -> list[WireRow]:
    """All rows of a buffer, every checksum verified. Raises OTSParameterInvalid."""
    if data[:4] != HEADER:
        raise invalid("Invalid header of PlainBuffer.")
    rows = []
    pos = 4
    while pos < len(data):
        row, pos = decode_row(data, pos)
        rows.append(row)
    return rows


def decode_row(data: bytes, pos: int = 0) -> tuple[WireRow, int]:
    """The row that starts at `pos`, and where it ends. Raises OTSParameterInvalid."""
    try:
        row, end, stated = _read_row(data, pos)
    except (IndexError, struct.error):
        raise invalid("PlainBuffer ends too early.") from None
    cells = bytes([c.raw[-1] for c in row.primary_key]) + bytes([c.raw[-1] for c in row.cells])
    if crc8.smbus(cells + bytes((row.delete_marker,))) != stated:
        raise invalid("Checksum of row mismatch in PlainBuffer.")
    return row, end


def _read_row(data: bytes, pos: int) -> tuple[WireRow, int, int]:
    row = WireRow([], [], False)
    for tag, cells in ((ROW_PK, row.primary_key), (ROW_DATA, row.cells)):
        if data[pos] == tag:
            pos += 1
            while data[pos] == CELL:
                cell, pos = _read_cell(data, pos)
                cells.append(cell)
    if data[pos] == DELETE_MARKER:
        row.delete_marker = True
        pos += 1
    if data[pos] != ROW_CHECKSUM:
        raise invalid(f"Unexpected tag {data[pos]} in PlainBuffer.")
    return row, pos + 2, data[pos + 1]


def _read_cell(data: bytes, start: int) -> tuple[Cell, int]:
    pos = start + 1
    if data[pos] != CELL_NAME:
        raise invalid(f"Unexpected tag {data[pos]} in PlainBuffer.")
    raw_name, pos = _read_sized(data, pos + 1)
    variant = op = timestamp = None
    covered = raw_name
    if data[pos] == CELL_VALUE:
        variant, pos = _read_sized(data, pos + 1)
        covered += check_variant(variant)
    if data[pos] == CELL_OP:
        op = data[pos + 1]
        pos += 2
    if data[pos] == CELL_TIMESTAMP:
        timestamp = int(_int64.unpack_from(data, pos + 1)[0])
        covered += data[pos + 1 : pos + 9]
        pos += 9
    if op is not None:
        covered += bytes((op,))
    if data[pos] != CELL_CHECKSUM:
        raise invalid(f"Unexpected tag {data[pos]} in PlainBuffer.")
    if crc8.smbus(covered) != data[pos + 1]:
        raise invalid("Checksum of cell mismatch in PlainBuffer.")
    pos += 2
    return Cell(_utf8(raw_name), variant, timestamp, op, data[start:pos]), pos


def _read_sized(data: bytes, pos: int) -> tuple[bytes, int]:
    end = pos + 4 + _uint32.unpack_from(data, pos)[0]
    if end > len(data):
        raise IndexError
    return data[pos + 4 : end], end


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise invalid("Invalid UTF-8 in PlainBuffer.") from None
