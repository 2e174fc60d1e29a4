"""Primary keys as bytes whose order is Tablestore's order, so that SQLite's index is the table's key order.

Each column is a tag byte and its value: integers big-endian with the sign bit flipped; strings and blobs with zero
bytes escaped (00 -> 00 FF) and closed by 00 00, so that a prefix sorts before what it begins and columns cannot run
into one another. INF_MIN sorts before every value, INF_MAX after.
"""

import struct
from collections.abc import Iterable
from typing import Final

from ..errors import OtsError
from ..protocol.plainbuffer import AUTO_INCREMENT, BLOB, INF_MAX, INF_MIN, INTEGER, STRING

_TAG: Final = {INF_MIN: b"\x00", INTEGER: b"\x10", STRING: b"\x20", BLOB: b"\x30", INF_MAX: b"\xff"}
_biased = struct.Struct(">Q")
_int64 = struct.Struct("<q")


def encode_key(variants: Iterable[bytes]) -> bytes:
    """The sortable key of primary key values in wire form (see plainbuffer)."""
    return b"".join([_encode(variant) for variant in variants])


def _encode(variant: bytes) -> bytes:
    kind = variant[0]
    if kind == INTEGER:
        return b"\x10" + _biased.pack(_int64.unpack_from(variant, 1)[0] + (1 << 63))
    if kind in (STRING, BLOB):
        return _TAG[kind] + variant[5:].replace(b"\x00", b"\x00\xff") + b"\x00\x00"
    if kind in (INF_MIN, INF_MAX):
        return _TAG[kind]
    if kind == AUTO_INCREMENT:
        raise OtsError("OTSInvalidPK", "An auto-increment column has no value yet.")
    raise OtsError("OTSInvalidPK", f"Unsupported primary key type: {kind}.")
