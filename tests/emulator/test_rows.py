"""PutRow, GetRow, UpdateRow, DeleteRow: what they store, return and refuse."""

import time
from typing import Any

import pytest
import tablestore as ots

from support.tables import get, put, refused

KEY: list[tuple[str, Any]] = [("a", "x"), ("b", 1)]


def update(client: Any, table: str, changes: dict[str, Any], condition: str = "IGNORE", **options: Any) -> Any:
    return client.update_row(table, ots.Row(KEY, changes), ots.Condition(condition), **options)


def test_every_type_comes_back_sorted_by_name(client: Any, make_table: Any) -> None:
    table = make_table(("s", "STRING"), ("i", "INTEGER"), ("b", "BINARY"))
    key = [("s", "键 🔑\x00"), ("i", -(1 << 63)), ("b", bytearray(b"\x00\xff"))]
    columns = [
        ("t", "文"),
        ("n", (1 << 63) - 1),
        ("f", -0.5),
        ("no", False),
        ("blob", bytearray(b"\x00\x01")),
        ("e", ""),
    ]
    put(client, table, key, columns)
    _, row, _ = client.get_row(table, key, max_version=1)
    assert row.primary_key == key
    assert [(name, value) for name, value, _ in row.attribute_columns] == sorted(columns)


def test_a_row_without_columns_is_a_row(client: Any, make_table: Any) -> None:
    table = make_table()
    assert get(client, table, KEY) is None
    put(client, table, KEY, [])
    assert get(client, table, KEY) == {}


def test_put_replaces_the_whole_row(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, KEY, [("c", 1), ("d", 2)])
    put(client, table, KEY, [("d", 3)])
    assert get(client, table, KEY) == {"d": 3}


def test_update_changes_only_what_it_names(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, KEY, [("c", 1), ("d", 2), ("n", 5)])
    update(client, table, {"put": [("e", "new")], "delete_all": ["c"], "increment": [("n", -7), ("m", 2)]})
    assert get(client, table, KEY) == {"d": 2, "e": "new", "n": -2, "m": 2}


def test_update_makes_a_row_but_deletions_alone_do_not(client: Any, make_table: Any) -> None:
    table = make_table()
    update(client, table, {"delete_all": ["c"]})
    assert get(client, table, KEY) is None
    update(client, table, {"put": [("c", 1)]})
    update(client, table, {"delete_all": ["c"]})
    assert get(client, table, KEY) == {}


def test_delete_is_silent_about_what_is_not_there(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, KEY, [("c", 1)])
    for _ in range(2):
        client.delete_row(table, KEY, ots.Condition("IGNORE"))
        assert get(client, table, KEY) is None


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("api", ["put", "update", "delete"])
def test_row_existence_conditions(client: Any, make_table: Any, api: str, exists: bool) -> None:
    table = make_table()
    if exists:
        put(client, table, KEY, [("c", 0)])

    def write(expectation: str) -> None:
        if api == "put":
            put(client, table, KEY, [("c", 1)], ots.Condition(expectation))
        elif api == "update":
            update(client, table, {"put": [("c", 1)]}, expectation)
        else:
            client.delete_row(table, KEY, ots.Condition(expectation))

    before = get(client, table, KEY)
    with refused("OTSConditionCheckFail", 403):
        write("EXPECT_NOT_EXIST" if exists else "EXPECT_EXIST")
    assert get(client, table, KEY) == before
    write("EXPECT_EXIST" if exists else "EXPECT_NOT_EXIST")
    assert get(client, table, KEY) == (None if api == "delete" else {"c": 1})


def test_increments_are_integers_only(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, KEY, [("text", "one"), ("full", (1 << 63) - 1)])
    with refused("OTSParameterInvalid", 400, "'text' is not INTEGER"):
        update(client, table, {"increment": [("text", 1)]})
    with refused("OTSParameterInvalid", 400, "overflows"):
        update(client, table, {"put": [("text", "two")], "increment": [("full", 1)]})
    assert get(client, table, KEY) == {"text": "one", "full": (1 << 63) - 1}


def test_the_new_values_can_be_asked_for(client: Any, make_table: Any) -> None:
    table = make_table()
    _, row = client.put_row(table, ots.Row(KEY, [("c", 1)]), ots.Condition("IGNORE"), ots.ReturnType.RT_PK)
    assert (row.primary_key, row.attribute_columns) == (KEY, [])
    change = ots.Row(KEY, {"increment": [("n", 5)]})
    _, row = client.update_row(table, change, ots.Condition("IGNORE"))
    assert row is None
    change = ots.UpdateRowItem(ots.Row(KEY, {"increment": [("n", 5)]}), ots.Condition("IGNORE"), ots.ReturnType.RT_PK)
    request = ots.BatchWriteRowRequest()
    request.add(ots.TableInBatchWriteRowItem(table, [change]))
    done, _ = client.batch_write_row(request).get_update()
    assert done[0].row.primary_key == KEY
    assert get(client, table, KEY) == {"c": 1, "n": 10}


def test_versions_are_kept_newest_first(client: Any, make_table: Any) -> None:
    table, now = make_table(max_version=3), int(time.time() * 1000)
    for at in range(5):
        update(client, table, {"put": [("c", at, now + at)]})
    _, row, _ = client.get_row(table, KEY, max_version=10)
    assert row.attribute_columns == [("c", 4, now + 4), ("c", 3, now + 3), ("c", 2, now + 2)]
    _, row, _ = client.get_row(table, KEY, max_version=9, time_range=(now + 2, now + 4))
    assert row.attribute_columns == [("c", 3, now + 3), ("c", 2, now + 2)]
    _, row, _ = client.get_row(table, KEY, max_version=9, time_range=now + 2)
    assert row.attribute_columns == [("c", 2, now + 2)]
    _, row, _ = client.get_row(table, KEY, max_version=9, time_range=now)
    assert row is None
    update(client, table, {"delete": [("c", None, now + 4)]})
    assert get(client, table, KEY) == {"c": 3}
    update(client, table, {"delete_all": ["c"]})
    assert get(client, table, KEY) == {}


def test_one_version_tables_keep_the_newest_even_if_it_came_first(client: Any, make_table: Any) -> None:
    table, now = make_table(), int(time.time() * 1000)
    update(client, table, {"put": [("c", "new", now)]})
    update(client, table, {"put": [("c", "old", now - 5000)]})
    assert get(client, table, KEY) == {"c": "new"}


def test_fewer_versions_hide_the_older_ones(client: Any, make_table: Any) -> None:
    table, now = make_table(max_version=3), int(time.time() * 1000)
    for at in range(3):
        update(client, table, {"put": [("c", at, now + at)]})
    client.update_table(table, ots.TableOptions(time_to_live=None, max_version=1, max_time_deviation=None))
    _, row, _ = client.get_row(table, KEY, max_version=10)
    assert row.attribute_columns == [("c", 2, now + 2)]


def test_a_version_far_from_the_clock_is_refused(client: Any, make_table: Any) -> None:
    table = make_table()
    for at in (5, int(time.time() * 1000) + 2 * 86_400_000):
        with refused("OTSParameterInvalid", 400, "timestamp"):
            put(client, table, KEY, [("c", 1, at)])


def test_what_has_outlived_the_table_is_gone(client: Any, make_table: Any) -> None:
    table = make_table(time_to_live=86400, max_time_deviation=10 * 86400)
    old = int(time.time() * 1000) - 2 * 86_400_000
    put(client, table, KEY, [("c", 1, old), ("d", 2)])
    assert get(client, table, KEY) == {"d": 2}
    put(client, table, KEY, [("c", 1, old)])
    assert get(client, table, KEY) is None
    put(client, table, KEY, [("d", 3)], ots.Condition("EXPECT_NOT_EXIST"))
    assert get(client, table, KEY) == {"d": 3}


def test_columns_to_get(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, KEY, [("c", 1), ("d", 2), ("e", 3)])
    assert get(client, table, KEY, columns_to_get=["e", "c", "c", "nowhere"]) == {"c": 1, "e": 3}
    assert get(client, table, KEY, columns_to_get=["nowhere"]) is None
    assert get(client, table, KEY, columns_to_get=["a"]) == {}
    assert get(client, table, KEY, start_column="d", end_column="e") == {"d": 2}
    with refused("OTSParameterInvalid", 400, "limit count: 128"):
        get(client, table, KEY, columns_to_get=[f"c{i}" for i in range(129)])


def test_a_read_must_say_which_versions(client: Any, make_table: Any) -> None:
    with refused("OTSParameterInvalid", 400, "No version condition"):
        client.get_row(make_table(), KEY, max_version=None)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ([("a", "x")], "Validate PK size fail. Input: 1, Meta: 2."),
        ([("b", 1), ("a", "x")], "Validate PK name fail. Input: b, Meta: a."),
        ([("a", 1), ("b", 1)], "Validate PK type fail. Input: VT_INTEGER, Meta: VT_STRING."),
        ([("a", "x"), ("b", ots.INF_MAX)], "Validate PK type fail"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(client: Any, make_table: Any, key: list[Any], words: str) -> None:
    table = make_table()
    with refused("OTSInvalidPK", 400, words):
        get(client, table, key)
    with refused("OTSInvalidPK", 400, words):
        put(client, table, key, [])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([("user-id", 1)], "Invalid column name: 'user-id'"),
        ([("", 1)], "Invalid column name: ''"),
        ([("a", 1)], "Duplicated attribute column name with primary key column: 'a'"),
        ([("c", 1, 5_000), ("c", 2, 5_000)], "timestamp"),
        ([("c", "x" * (2 * 1024 * 1024 + 1))], "exceeds the MaxLength: 2097152"),
        ([(f"c{i}", 1) for i in range(1025)], "limit count: 1024, column count: 1025"),
        ([(f"c{i}", "x" * 2_000_000) for i in range(2)] + [("d", "x" * 500_000)], "total data size of a row"),
    ],
)
def test_columns_that_cannot_be_are_refused(client: Any, make_table: Any, columns: list[Any], words: str) -> None:
    table = make_table()
    with refused("OTSParameterInvalid", 400, words):
        put(client, table, KEY, columns)
    assert get(client, table, KEY) is None


def test_keys_hold_a_kilobyte(client: Any, make_table: Any) -> None:
    table = make_table()
    put(client, table, [("a", "x" * 1024), ("b", 1)], [])
    with refused("OTSParameterInvalid", 400, "exceeds the MaxLength: 1024 with CurrentLength: 1025"):
        put(client, table, [("a", "x" * 1025), ("b", 1)], [])


def test_auto_increment_keys_grow(client: Any) -> None:
    meta = ots.TableMeta("numbered", [("a", "STRING"), ("n", "INTEGER", ots.PK_AUTO_INCR)])
    client.create_table(meta, ots.TableOptions(), ots.ReservedThroughput(ots.CapacityUnit(0, 0)))
    seen = []
    for _ in range(3):
        row = ots.Row([("a", "x"), ("n", ots.PK_AUTO_INCR)], [("c", 1)])
        _, written = client.put_row("numbered", row, ots.Condition("IGNORE"), ots.ReturnType.RT_PK)
        seen.append(written.primary_key[1][1])
        assert get(client, "numbered", written.primary_key) == {"c": 1}
    assert seen == sorted(set(seen))


def test_tables_that_forbid_updates_take_puts(client: Any, make_table: Any) -> None:
    table = make_table(allow_update=False)
    put(client, table, KEY, [("c", 1)])
    with refused("OTSParameterInvalid", 400, "allow_update"):
        update(client, table, {"put": [("c", 2)]})
    assert get(client, table, KEY) == {"c": 1}


def test_transactions_are_not_offered(client: Any, make_table: Any) -> None:
    table = make_table()
    with refused("OTSUnsupportOperation", 400):
        client.start_local_transaction(table, [("a", "x")])
    with refused("OTSParameterInvalid", 400, "TransactionID is invalid"):
        client.get_row(table, KEY, max_version=1, transaction_id="made up")


def test_capacity_units_are_counted_as_documented(client: Any, make_table: Any) -> None:
    table = make_table()
    used, _ = client.put_row(table, ots.Row(KEY, [("c", "x" * 4096)]), ots.Condition("IGNORE"))
    assert (used.read, used.write) == (0, 2)
    used, _, _ = client.get_row(table, KEY, max_version=1)
    assert (used.read, used.write) == (2, 0)
    used, _, _ = client.get_row(table, [("a", "nobody"), ("b", 1)], max_version=1)
    assert (used.read, used.write) == (1, 0)
    used, _ = client.delete_row(table, KEY, ots.Condition("EXPECT_EXIST"))
    assert (used.read, used.write) == (1, 1)
