"""BatchGetRow and BatchWriteRow."""

from typing import Any

import pytest
import tablestore as ots

from support.emulator import Emulator
from support.tables import get, put, refused


def key(number: int) -> list[tuple[str, Any]]:
    return [("a", "x"), ("b", number)]


def write(client: Any, *tables: tuple[str, list[Any]]) -> Any:
    request = ots.BatchWriteRowRequest()
    for table, items in tables:
        request.add(ots.TableInBatchWriteRowItem(table, items))
    return client.batch_write_row(request)


def read(client: Any, *tables: tuple[str, list[Any]], columns: list[str] | None = None) -> Any:
    request = ots.BatchGetRowRequest()
    for table, keys in tables:
        request.add(ots.TableInBatchGetRowItem(table, keys, columns or [], None, 1))
    return client.batch_get_row(request)


def test_rows_of_several_tables_in_one_call(client: Any, make_table: Any) -> None:
    one, two = make_table(), make_table()
    ignore = ots.Condition("IGNORE")
    done = write(
        client,
        (one, [ots.PutRowItem(ots.Row(key(1), [("c", 1)]), ignore), ots.PutRowItem(ots.Row(key(2), []), ignore)]),
        (
            two,
            [
                ots.UpdateRowItem(ots.Row(key(1), {"put": [("c", 2)]}), ignore),
                ots.DeleteRowItem(ots.Row(key(9)), ignore),
            ],
        ),
    )
    assert done.is_all_succeed()
    found = read(client, (one, [key(1), key(2), key(3)]), (two, [key(1)]))
    rows = [item.row and {n: v for n, v, _ in item.row.attribute_columns} for item in found.get_result_by_table(one)]
    assert rows == [{"c": 1}, {}, None]
    assert found.get_result_by_table(two)[0].row.attribute_columns[0][:2] == ("c", 2)


def test_one_bad_row_leaves_the_others_alone(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, key(1), [("c", 0)])
    ignore, absent = ots.Condition("IGNORE"), ots.Condition("EXPECT_NOT_EXIST")
    done = write(
        client,
        (
            table,
            [
                ots.PutRowItem(ots.Row(key(1), [("c", 1)]), absent),
                ots.PutRowItem(ots.Row(key(2), [("c", 1)]), absent),
                ots.PutRowItem(ots.Row([("a", "x")], [("c", 1)]), ignore),
                ots.PutRowItem(ots.Row(key(3), [("bad-name", 1)]), ignore),
                ots.PutRowItem(ots.Row(key(4), [("c", 1)]), ignore),
            ],
        ),
        ("nowhere", [ots.PutRowItem(ots.Row(key(1), []), ignore)]),
    )
    codes = [item.error_code for item in done.get_put_by_table(table)]
    assert codes == ["OTSConditionCheckFail", None, "OTSInvalidPK", "OTSParameterInvalid", None]
    assert done.get_put_by_table("nowhere")[0].error_code == "OTSObjectNotExist"
    assert [get(client, table, key(n)) for n in range(1, 5)] == [{"c": 0}, {"c": 1}, None, {"c": 1}]
    found = read(client, (table, [key(1), [("a", "x")]]), ("nowhere", [key(1)]))
    assert [item.error_code for item in found.get_result_by_table(table)] == [None, "OTSInvalidPK"]
    assert found.get_result_by_table("nowhere")[0].error_code == "OTSObjectNotExist"


def test_the_same_row_twice_is_written_in_order(client: Any, make_table: Any) -> None:
    table = make_table()
    ignore = ots.Condition("IGNORE")
    changes = [ots.UpdateRowItem(ots.Row(key(1), {"increment": [("n", 1)]}), ignore) for _ in range(3)]
    assert write(client, (table, changes)).is_all_succeed()
    assert get(client, table, key(1)) == {"n": 3}


def test_numbers_of_rows_are_limited(client: Any, make_table: Any) -> None:
    table = make_table()
    ignore = ots.Condition("IGNORE")
    items = [ots.PutRowItem(ots.Row(key(n), []), ignore) for n in range(201)]
    assert write(client, (table, items[:200])).is_all_succeed()
    with refused("OTSParameterInvalid", 400, "exceeds the upper limit: 200"):
        write(client, (table, items))
    assert len(read(client, (table, [key(n) for n in range(100)])).get_result_by_table(table)) == 100
    with refused("OTSParameterInvalid", 400, "exceeds the upper limit: 100"):
        read(client, (table, [key(n) for n in range(101)]))


def test_the_size_of_a_batch_is_limited(client: Any, make_table: Any) -> None:
    items = [ots.PutRowItem(ots.Row(key(n), [("c", "x" * 1_500_000)]), ots.Condition("IGNORE")) for n in range(3)]
    with refused("OTSParameterInvalid", 400, "total data size"):
        write(client, (make_table(), items))


@pytest.mark.parametrize("call", [write, read])
def test_an_empty_batch_is_refused(client: Any, call: Any) -> None:
    with refused("OTSParameterInvalid", 400, "No row"):
        call(client)


def test_what_was_consumed_is_counted(emulator: Emulator, client: Any, make_table: Any) -> None:
    """As the answers say it, single rows and batches alike."""
    table, before = make_table(), emulator.units()
    ignore = ots.Condition("IGNORE")
    wrote, _ = client.put_row(table, ots.Row(key(1), [("c", "x" * 10_000)]), ignore)
    got, _, _ = client.get_row(table, key(1), max_version=1)
    items = [ots.PutRowItem(ots.Row(key(n), [("c", "x" * 5_000)]), ignore) for n in (2, 3)]
    batch = write(client, (table, items)).get_put_by_table(table)
    found = read(client, (table, [key(1), key(2)])).get_result_by_table(table)
    ranged, _, _, _ = client.get_range(table, "FORWARD", key(0), key(9), max_version=1)
    after = emulator.units()
    assert after["write"] - before["write"] == wrote.write + sum(item.consumed.write for item in batch) == 3 + 2 * 2
    reads = [got.read, ranged.read, *(item.consumed.read for item in found)]
    assert after["read"] - before["read"] == sum(reads)
