"""The codec: round trips, the SDK's own codec as the witness, and every flipped bit found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tablestore.plainbuffer.plain_buffer_builder import PlainBufferBuilder

from tablestore_emulator.errors import OtsError
from tablestore_emulator.protocol import plainbuffer as pb
from tablestore_emulator.rows.keys import encode_key

names = st.text("abcXYZ_09", min_size=1, max_size=20)
integers = st.integers(-(1 << 63), (1 << 63) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
values = integers | st.floats(allow_nan=False) | st.booleans() | texts | st.binary()
key_values = integers | texts | st.binary()
cells = st.builds(
    lambda name, value, at: pb.Cell(
        name, pb.to_variant(value), at, None, pb.encode_cell(name, pb.to_variant(value), at)
    ),
    names,
    values,
    st.none() | st.integers(0, 1 << 60),
)


@given(st.lists(cells, min_size=1, max_size=4), st.lists(cells, max_size=6))
def test_rows_come_back_as_they_were(key: list[pb.Cell], columns: list[pb.Cell]) -> None:
    data = pb.encode_buffer([pb.encode_row([c.raw for c in key], [c.raw for c in columns])])
    row = pb.decode_one(data)
    assert (row.primary_key, row.cells, row.delete_marker) == (key, columns, False)


@given(st.lists(st.tuples(names, key_values), min_size=1, max_size=4), st.lists(st.tuples(names, values), max_size=5))
def test_the_sdk_encodes_the_same_bytes(key: list[tuple[str, object]], columns: list[tuple[str, object]]) -> None:
    def ours(pairs: list[tuple[str, object]]) -> list[bytes]:
        return [pb.encode_cell(name, pb.to_variant(value)) for name, value in pairs]  # type: ignore[arg-type]

    def theirs(pairs: list[tuple[str, object]]) -> list[tuple[str, object]]:
        return [(name, bytearray(value) if isinstance(value, bytes) else value) for name, value in pairs]

    expected = PlainBufferBuilder.serialize_for_put_row(theirs(key), theirs(columns))
    assert pb.encode_buffer([pb.encode_row(ours(key), ours(columns))]) == expected


def test_an_update_as_the_sdk_writes_it_is_read() -> None:
    changes = {"PUT": [("p", 1, 7)], "DELETE": [("d", None, 5)], "DELETE_ALL": ["x"], "INCREMENT": [("n", 3)]}
    row = pb.decode_one(bytes(PlainBufferBuilder.serialize_for_update_row([("a", "k")], changes)))
    assert [(c.name, c.op, c.timestamp) for c in row.cells] == [
        ("p", None, 7),
        ("d", pb.DELETE_ONE_VERSION, 5),
        ("x", pb.DELETE_ALL_VERSIONS, None),
        ("n", pb.INCREMENT, None),
    ]


def test_a_delete_as_the_sdk_writes_it_is_read() -> None:
    row = pb.decode_one(bytes(PlainBufferBuilder.serialize_for_delete_row([("a", "k"), ("b", 2)])))
    assert row.delete_marker
    assert [pb.from_variant(c.variant) for c in row.primary_key if c.variant] == ["k", 2]


def test_no_changed_byte_goes_unnoticed() -> None:
    raw = [pb.encode_cell("name", pb.to_variant("value"), 1_700_000_000_000)]
    data = pb.encode_buffer([pb.encode_row(raw, raw)])
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            with pytest.raises(OtsError):
                pb.decode_one(bytes(broken))


@given(st.binary(max_size=80))
def test_garbage_is_refused_not_crashed_on(garbage: bytes) -> None:
    with pytest.raises(OtsError):
        pb.decode_one(pb.HEADER + b"\x01" + garbage)


def test_every_cut_is_noticed() -> None:
    data = pb.encode_buffer([pb.encode_row([pb.encode_cell("name", pb.to_variant("value"))])])
    for end in range(len(data)):
        with pytest.raises(OtsError):
            pb.decode_one(data[:end])


key_rows = st.lists(st.tuples(texts, integers, st.binary()), min_size=2, max_size=30)


@given(key_rows)
def test_encoded_keys_sort_as_tablestore_does(rows: list[tuple[str, int, bytes]]) -> None:
    by_encoding = sorted(rows, key=lambda row: encode_key(pb.to_variant(value) for value in row))
    assert by_encoding == sorted(rows, key=lambda row: (row[0].encode(), row[1], row[2]))


@given(integers | texts | st.binary())
def test_infinities_enclose_every_key(value: int | str | bytes) -> None:
    low, key, high = (encode_key([v]) for v in (bytes((pb.INF_MIN,)), pb.to_variant(value), bytes((pb.INF_MAX,))))
    assert low < key < high
