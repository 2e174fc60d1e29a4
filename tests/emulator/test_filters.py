"""Filters on reads, conditions on writes."""

import struct
import time
from typing import Any

import pytest
import tablestore as ots
from tablestore import ComparatorType as Is
from tablestore import CompositeColumnCondition, LogicalOperator, SingleColumnCondition
from tablestore.protobuf import table_store_filter_pb2 as pb

from support.tables import MAX, MIN, get, put, refused, scan
from tablestore_emulator.errors import OtsError
from tablestore_emulator.protocol.plainbuffer import Cell
from tablestore_emulator.rows.conditions import parse_filter

KEY: list[tuple[str, Any]] = [("a", "x"), ("b", 1)]


def all_of(*parts: Any) -> Any:
    return combined(LogicalOperator.AND, *parts)


def combined(operator: Any, *parts: Any) -> Any:
    whole = CompositeColumnCondition(operator)
    for part in parts:
        whole.add_sub_condition(part)
    return whole


@pytest.fixture
def row(client: Any, make_table: Any) -> str:
    table: str = make_table()
    put(client, table, KEY, [("n", 5), ("s", "m"), ("f", 1.5), ("yes", True), ("blob", bytearray(b"m"))])
    return table


@pytest.mark.parametrize(("column", "less", "same", "more"), [
    ("n", 4, 5, 6),
    ("s", "M", "m", "é"),
    ("f", -1.5, 1.5, 2.0),
    ("blob", bytearray(b""), bytearray(b"m"), bytearray(b"m\x00")),
])  # fmt: skip
def test_comparisons(client: Any, row: str, column: str, less: Any, same: Any, more: Any) -> None:
    def passes(comparator: Any, value: Any) -> bool:
        condition = SingleColumnCondition(column, value, comparator)
        return get(client, row, KEY, column_filter=condition) is not None

    expected = {
        Is.EQUAL: [False, True, False],
        Is.NOT_EQUAL: [True, False, True],
        Is.GREATER_THAN: [True, False, False],
        Is.GREATER_EQUAL: [True, True, False],
        Is.LESS_THAN: [False, False, True],
        Is.LESS_EQUAL: [False, True, True],
    }
    assert {c: [passes(c, v) for v in (less, same, more)] for c in expected} == expected


def test_values_of_another_type_are_different(client: Any, row: str) -> None:
    assert get(client, row, KEY, column_filter=SingleColumnCondition("n", "5", Is.EQUAL)) is None
    assert get(client, row, KEY, column_filter=SingleColumnCondition("n", 1.0, Is.GREATER_THAN)) is None
    assert get(client, row, KEY, column_filter=SingleColumnCondition("n", "5", Is.NOT_EQUAL)) is not None


@pytest.mark.parametrize("passes", [True, False])
def test_missing_columns(client: Any, row: str, passes: bool) -> None:
    condition = SingleColumnCondition("nowhere", 1, Is.EQUAL, pass_if_missing=passes)
    assert (get(client, row, KEY, column_filter=condition) is not None) == passes


def test_a_filter_sees_only_the_columns_that_are_read(client: Any, row: str) -> None:
    condition = SingleColumnCondition("n", 5, Is.EQUAL, pass_if_missing=False)
    assert get(client, row, KEY, column_filter=condition, columns_to_get=["s"]) is None
    assert get(client, row, KEY, column_filter=condition, columns_to_get=["s", "n"]) == {"s": "m", "n": 5}


def test_conditions_combine(client: Any, row: str) -> None:
    true, false = SingleColumnCondition("n", 5, Is.EQUAL), SingleColumnCondition("s", "z", Is.EQUAL)

    def passes(condition: Any) -> bool:
        return get(client, row, KEY, column_filter=condition) is not None

    assert passes(all_of(true, true))
    assert not passes(all_of(true, false))
    assert passes(combined(LogicalOperator.OR, false, true))
    assert not passes(combined(LogicalOperator.OR, false, false))
    assert passes(combined(LogicalOperator.NOT, all_of(true, false)))
    assert not passes(combined(LogicalOperator.NOT, true))


def by_rule(regex: str, cast: Any = pb.VT_STRING) -> Any:
    """A filter on what `regex` takes out of column s: the SDK has no words for it."""
    rule = pb.ValueTransferRule(regex=regex, cast_type=cast)
    variant = b"\x03" + struct.pack("<I", 1) + b"z" if cast == pb.VT_STRING else b"\x00" + struct.pack("<q", 7)
    single = pb.SingleColumnValueFilter(
        comparator=pb.CT_EQUAL, column_name="s", column_value=variant, filter_if_missing=True, latest_version_only=True
    )
    single.value_trans_rule.CopyFrom(rule)
    whole = pb.Filter(type=pb.FT_SINGLE_COLUMN_VALUE, filter=single.SerializeToString())
    return parse_filter(whole.SerializeToString())


def text_cell(text: str) -> Cell:
    return Cell("s", b"\x03" + struct.pack("<I", len(text)) + text.encode(), 1, None, b"")


def test_a_part_of_a_text_by_a_regular_expression() -> None:
    assert by_rule(r"t1:([0-9]+),", pb.VT_INTEGER).accepts([text_cell("t0:1,t1:7,")])
    assert not by_rule(r"t1:([0-9]+),", pb.VT_INTEGER).accepts([text_cell("t0:7,t1:8,")])
    assert by_rule(r"[(+*?|]+(z)").accepts([text_cell("a+z")])
    assert by_rule(r"\+(?:a)|z").accepts([text_cell("z")])


@pytest.mark.parametrize("regex", [
    "(a+)+$", "(?:a*)*b", "(a|a)+", "(a{2,9}){2,}", "a?" * 30 + "a" * 30, "(a|a)(a|a)(a|a)b", "(?=a+)a", "a*a*a*b",
    "a" * 101,
])  # fmt: skip
def test_a_regular_expression_that_could_hold_everybody_up_is_refused(regex: str) -> None:
    with pytest.raises(OtsError, match="not supported"):
        by_rule(regex)


@pytest.mark.parametrize("regex", [".*.*b", "a*a*z", "(a*)a+z", "a*b|z"])
def test_a_regular_expression_ends_soon(regex: str) -> None:
    began = time.thread_time()
    assert not by_rule(regex).accepts([text_cell("a" * 512)])
    assert time.thread_time() - began < 5
    with pytest.raises(OtsError, match="512 characters"):
        by_rule(regex).accepts([text_cell("a" * 513)])


def test_at_most_ten_conditions(client: Any, row: str) -> None:
    ten = [SingleColumnCondition("n", 5, Is.EQUAL)] * 10
    assert get(client, row, KEY, column_filter=all_of(*ten)) is not None
    with refused("OTSParameterInvalid", 400, "limit count: 10"):
        get(client, row, KEY, column_filter=all_of(*ten, ten[0]))


def test_compare_and_set(client: Any, row: str) -> None:
    def step(seen: int) -> None:
        condition = ots.Condition("EXPECT_EXIST", SingleColumnCondition("n", seen, Is.EQUAL, pass_if_missing=False))
        client.update_row(row, ots.Row(KEY, {"increment": [("n", 1)]}), condition)

    step(5)
    with refused("OTSConditionCheckFail", 403):
        step(5)
    step(6)
    assert (get(client, row, KEY) or {})["n"] == 7


def test_conditions_on_puts_and_deletes(client: Any, row: str) -> None:
    wrong = ots.Condition("IGNORE", SingleColumnCondition("n", 9, Is.EQUAL))
    with refused("OTSConditionCheckFail", 403):
        put(client, row, KEY, [], wrong)
    with refused("OTSConditionCheckFail", 403):
        client.delete_row(row, KEY, wrong)
    assert (get(client, row, KEY) or {})["n"] == 5


def test_a_condition_on_a_row_that_is_not_there(client: Any, make_table: Any) -> None:
    table = make_table()
    strict = ots.Condition("IGNORE", SingleColumnCondition("n", 1, Is.EQUAL, pass_if_missing=False))
    with refused("OTSConditionCheckFail", 403):
        put(client, table, KEY, [], strict)
    put(client, table, KEY, [], ots.Condition("IGNORE", SingleColumnCondition("n", 1, Is.EQUAL)))
    assert get(client, table, KEY) == {}


def test_older_versions_count_when_asked_for(client: Any, make_table: Any) -> None:
    table = make_table(max_version=2)
    now = time.time_ns() // 1_000_000  # told: two writes of one millisecond would be one version
    for value, at in (("old", now - 1), ("new", now)):
        client.update_row(table, ots.Row(KEY, {"put": [("c", value, at)]}), ots.Condition("IGNORE"))
    both = SingleColumnCondition("c", "old", Is.EQUAL, latest_version_only=False)
    assert get(client, table, KEY, column_filter=both, max_version=2) == {"c": "new"}
    newest = SingleColumnCondition("c", "old", Is.EQUAL, latest_version_only=True)
    assert get(client, table, KEY, column_filter=newest, max_version=2) is None


def test_ranges_skip_what_the_filter_hides(client: Any, make_table: Any) -> None:
    table = make_table()
    for number in range(20):
        put(client, table, [("a", "x"), ("b", number)], [("even", number % 2 == 0), ("text", f"n={number}")])
    start, end = [("a", "x"), ("b", MIN)], [("a", "x"), ("b", MAX)]
    even = SingleColumnCondition("even", True, Is.EQUAL)
    rows = list(scan(client, table, start, end, column_filter=even, limit=3))
    assert [row.primary_key[1][1] for row in rows] == list(range(0, 20, 2))
