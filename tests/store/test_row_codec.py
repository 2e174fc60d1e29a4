"""The faster codec says what the SDK's own says, of any row and of any damage."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tablestore.native import NATIVE_AVAILABLE
from tablestore.plainbuffer.plain_buffer_builder import PlainBufferBuilder
from tablestore.plainbuffer.plain_buffer_coded_stream import PlainBufferCodedInputStream
from tablestore.plainbuffer.plain_buffer_crc8 import CRC8_TABLE
from tablestore.plainbuffer.plain_buffer_stream import PlainBufferInputStream

from tablestore_openmemory_mcp.store.client.row_codec import NativeRows, crc_string

NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)  # as ours are
NUMBERS = st.integers(-(2**63), 2**63 - 1)
BLOBS = st.binary(max_size=700).map(bytearray)
VALUES = st.one_of(NUMBERS, st.text(max_size=400), BLOBS, st.booleans(), st.floats(allow_nan=False))
KEYS = st.lists(st.tuples(NAMES, st.one_of(NUMBERS, st.text(max_size=40))), min_size=1, max_size=4)
COLUMNS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=8)


def encoded(key: list[tuple[str, Any]], columns: list[tuple[str, Any]]) -> bytes:
    return bytes(PlainBufferBuilder.serialize_for_put_row(key, columns))


def read(reader: type[PlainBufferCodedInputStream], data: bytes) -> Any:
    """Name, value and the value's type of each column; None if it is no row."""
    try:
        key, columns = reader(PlainBufferInputStream(data)).read_row()
    except Exception:  # the SDK's own parser knows many: OTSClientError, TypeError, UnicodeDecodeError
        return None
    return [[(name, value, type(value)) for name, value, *_ in part] for part in (key, columns)]


def checksum(crc: int, data: bytes) -> int:
    for byte in data:
        crc = CRC8_TABLE[crc ^ byte]
    return crc


@given(st.integers(0, 255), st.binary(max_size=3000))
def test_the_checksum_of_any_bytes(crc: int, data: bytes) -> None:
    assert crc_string(crc, data) == checksum(crc, data)


@pytest.mark.parametrize("size", [299, 300, 301, 381, 6144, 100_000])
def test_the_checksum_of_a_vector(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    for crc in (0, 1, 255):
        assert crc_string(crc, data) == checksum(crc, data)
    assert crc_string(0, "文" * size) == checksum(0, ("文" * size).encode())


@given(KEYS, COLUMNS)
def test_any_row(key: list[tuple[str, Any]], columns: list[tuple[str, Any]]) -> None:
    data = encoded(key, columns)
    found = read(NativeRows, data)
    assert found == read(PlainBufferCodedInputStream, data)
    assert found[0] == [(name, value, type(value)) for name, value in key]
    assert found[1] == [(name, value, type(value)) for name, value in columns]


@given(KEYS, COLUMNS, st.data())
def test_any_damaged_row(key: list[tuple[str, Any]], columns: list[tuple[str, Any]], chance: st.DataObject) -> None:
    """A bit that was turned, or an end that is missing: nothing is read that the SDK would not read."""
    data = bytearray(encoded(key, columns))
    if chance.draw(st.booleans()):
        data[chance.draw(st.integers(0, len(data) - 1))] ^= 1 << chance.draw(st.integers(0, 7))
    else:
        del data[chance.draw(st.integers(4, len(data) - 1)) :]
    found = read(NativeRows, bytes(data))
    assert found is None or found == read(PlainBufferCodedInputStream, bytes(data))


@pytest.mark.skipif(not NATIVE_AVAILABLE, reason="the SDK has no parser in C for this machine")
def test_rows_are_read_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded([("id", "a")], [("vector", bytearray(b"x" * 6144))])
    monkeypatch.setattr(PlainBufferCodedInputStream, "read_row_without_header", None)
    assert read(NativeRows, data)[1][0][0] == "vector"
