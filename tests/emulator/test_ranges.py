"""GetRange: both ways, page by page, up to its limits."""

from typing import Any

import pytest
import tablestore as ots

from support.tables import MAX, MIN, put, refused, scan


def fill(client: Any, table: str, count: int, columns: list[tuple[str, Any]]) -> None:
    for start in range(0, count, 200):
        request = ots.BatchWriteRowRequest()
        rows = (ots.Row([("a", "x"), ("b", i)], columns) for i in range(start, min(start + 200, count)))
        request.add(ots.TableInBatchWriteRowItem(table, [ots.PutRowItem(row, ots.Condition("IGNORE")) for row in rows]))
        assert client.batch_write_row(request).is_all_succeed()


def whole(direction: str = "FORWARD") -> tuple[list[Any], list[Any]]:
    low, high = [("a", MIN), ("b", MIN)], [("a", MAX), ("b", MAX)]
    return (low, high) if direction == "FORWARD" else (high, low)


@pytest.mark.parametrize("direction", ["FORWARD", "BACKWARD"])
@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_pages_join_without_a_gap(client: Any, make_table: Any, direction: str, limit: int) -> None:
    table = make_table()
    for a in ("", "x", "x\x00", "xy", "é", "中", "🔑"):
        for b in (-2, -1, 0, 1):
            put(client, table, [("a", a), ("b", b)], [("c", 1)])
    keys = [(a, b) for a in ("", "x", "x\x00", "xy", "é", "中", "🔑") for b in (-2, -1, 0, 1)]
    rows = scan(client, table, *whole(direction), direction=direction, limit=limit)
    expected = keys if direction == "FORWARD" else keys[::-1]
    assert [tuple(value for _, value in row.primary_key) for row in rows] == expected


def test_ends_are_inclusive_then_exclusive(client: Any, make_table: Any) -> None:
    table = make_table()
    fill(client, table, 10, [])
    low, high = [("a", "x"), ("b", 3)], [("a", "x"), ("b", 6)]
    assert [row.primary_key[1][1] for row in scan(client, table, low, high)] == [3, 4, 5]
    assert [row.primary_key[1][1] for row in scan(client, table, high, low, direction="BACKWARD")] == [6, 5, 4]


def test_a_full_last_page_has_no_next_key(client: Any, make_table: Any) -> None:
    table = make_table()
    fill(client, table, 4, [])
    _, following, rows, _ = client.get_range(table, "FORWARD", *whole(), limit=4, max_version=1)
    assert (len(rows), following) == (4, None)
    _, following, rows, _ = client.get_range(table, "FORWARD", *whole(), limit=3, max_version=1)
    assert (len(rows), following) == (3, [("a", "x"), ("b", 3)])


def test_an_empty_range_is_no_error(client: Any, make_table: Any) -> None:
    _, following, rows, _ = client.get_range(make_table(), "FORWARD", *whole(), max_version=1)
    assert (rows, following) == ([], None)


@pytest.mark.parametrize(("direction", "words"), [
    ("FORWARD", "Begin key must less than end key in FORWARD"),
    ("BACKWARD", "Begin key must more than end key in BACKWARD"),
])  # fmt: skip
def test_the_wrong_way_round_is_refused(client: Any, make_table: Any, direction: str, words: str) -> None:
    table = make_table()
    start, end = whole(direction)
    with refused("OTSParameterInvalid", 400, words):
        client.get_range(table, direction, end, start, max_version=1)
    with refused("OTSParameterInvalid", 400, words):
        client.get_range(table, direction, start, start, max_version=1)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_positive(client: Any, make_table: Any, limit: int) -> None:
    with refused("OTSParameterInvalid", 400, "limit must be greater than 0"):
        client.get_range(make_table(), "FORWARD", *whole(), limit=limit, max_version=1)


def test_a_page_holds_5000_rows(client: Any, make_table: Any) -> None:
    table = make_table()
    fill(client, table, 5100, [])
    _, following, rows, _ = client.get_range(table, "FORWARD", *whole(), max_version=1)
    assert (len(rows), following) == (5000, [("a", "x"), ("b", 5000)])
    assert len(list(scan(client, table, *whole()))) == 5100


def test_a_page_holds_4_mb_of_the_columns_asked_for(client: Any, make_table: Any) -> None:
    table = make_table()
    fill(client, table, 1000, [("text", "t"), ("vector", bytearray(6144))])
    _, _, rows, _ = client.get_range(table, "FORWARD", *whole(), max_version=1)
    row_size = len("a") + len("x") + len("b") + 8 + len("text") + 1 + len("vector") + 6144
    assert len(rows) == 4 * 1024 * 1024 // row_size
    assert len(list(scan(client, table, *whole()))) == 1000
    _, following, rows, _ = client.get_range(table, "FORWARD", *whole(), ["text"], max_version=1)
    assert (len(rows), following) == (1000, None)


def test_rows_without_the_columns_are_skipped(client: Any, make_table: Any) -> None:
    table = make_table()
    for number in range(6):
        put(client, table, [("a", "x"), ("b", number)], [("c", 1)] if number % 3 == 0 else [("d", 1)])
    rows = scan(client, table, *whole(), columns_to_get=["c"])
    assert [row.primary_key[1][1] for row in rows] == [0, 3]


def test_the_sdks_iterator_pages_by_itself(client: Any, make_table: Any) -> None:
    table = make_table()
    fill(client, table, 250, [])
    consumed = ots.CapacityUnit(0, 0)
    rows = client.xget_range(table, "FORWARD", *whole(), consumed, [], 230, None, 1)
    assert [row.primary_key[1][1] for row in rows] == list(range(230))
