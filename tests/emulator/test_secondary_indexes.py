"""Secondary indexes: written with their table's rows, read like tables."""

from typing import Any

import tablestore as ots

from support.tables import MAX, MIN, get, put, refused, scan

DEFINED = [("at", "INTEGER"), ("tag", "STRING"), ("f", "DOUBLE")]
LOCAL = ots.SecondaryIndexType.LOCAL_INDEX


def index(name: str, key: list[str], columns: list[str], kind: Any = LOCAL) -> ots.SecondaryIndexMeta:
    return ots.SecondaryIndexMeta(name, key, columns, kind)


def entries(client: Any, name: str, *names: str) -> list[Any]:
    low, high = [(n, MIN) for n in names], [(n, MAX) for n in names]
    return [
        ([value for _, value in row.primary_key], {n: v for n, v, _ in row.attribute_columns})
        for row in scan(client, name, low, high)
    ]


def test_an_index_follows_its_table(client: Any, make_table: Any) -> None:
    make_table_name = make_table(defined=DEFINED, indexes=[index("recent", ["a", "at"], ["tag"])])
    table = make_table_name
    names = ("a", "at", "b")

    def key(b: int) -> list[tuple[str, Any]]:
        return [("a", "u"), ("b", b)]

    put(client, table, key(1), [("at", 30), ("tag", "one"), ("f", 1.0)])
    put(client, table, key(2), [("at", 10)])
    put(client, table, key(3), [("tag", "has no key")])
    assert entries(client, "recent", *names) == [(["u", 10, 2], {}), (["u", 30, 1], {"tag": "one"})]

    client.update_row(table, ots.Row(key(1), {"put": [("at", 5)], "delete_all": ["tag"]}), ots.Condition("IGNORE"))
    client.update_row(table, ots.Row(key(3), {"put": [("at", 20)]}), ots.Condition("IGNORE"))
    assert entries(client, "recent", *names) == [
        (["u", 5, 1], {}),
        (["u", 10, 2], {}),
        (["u", 20, 3], {"tag": "has no key"}),
    ]

    client.delete_row(table, key(2), ots.Condition("IGNORE"))
    put(client, table, key(3), [("at", "not an integer any more")])
    assert entries(client, "recent", *names) == [(["u", 5, 1], {})]
    assert get(client, "recent", [("a", "u"), ("at", 5), ("b", 1)]) == {}
    assert "recent" not in client.list_table()


def test_a_global_index_turns_the_key_around(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED, indexes=[index("by_tag", ["tag"], ["f"], ots.SecondaryIndexType.GLOBAL_INDEX)])
    put(client, table, [("a", "u"), ("b", 1)], [("tag", "t"), ("f", 1.5)])
    assert entries(client, "by_tag", "tag", "a", "b") == [(["t", "u", 1], {"f": 1.5})]


def test_an_index_made_later_is_filled(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED)
    for number in range(600):
        put(client, table, [("a", "u"), ("b", number)], [("at", -number)])
    client.create_secondary_index(table, index("later", ["a", "at"], []), True)
    assert [key[1] for key, _ in entries(client, "later", "a", "at", "b")] == sorted(-n for n in range(600))
    described = client.describe_table(table).secondary_indexes
    assert [(i.index_name, i.primary_key_names, i.index_type) for i in described] == [("later", ["a", "at"], LOCAL)]
    client.delete_secondary_index(table, "later")
    assert client.describe_table(table).secondary_indexes == []
    with refused("OTSObjectNotExist", 404):
        get(client, "later", [("a", "u"), ("at", 1), ("b", 1)])


def test_a_global_index_may_ignore_what_was_there(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED)
    put(client, table, [("a", "u"), ("b", 1)], [("tag", "old")])
    client.create_secondary_index(table, index("fresh", ["tag"], [], ots.SecondaryIndexType.GLOBAL_INDEX), False)
    put(client, table, [("a", "u"), ("b", 2)], [("tag", "new")])
    assert [key for key, _ in entries(client, "fresh", "tag", "a", "b")] == [["new", "u", 2]]


def test_an_index_cannot_be_written_or_deleted_as_a_table(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED, indexes=[index("fixed", ["a", "at"], [])])
    key = [("a", "u"), ("at", 1), ("b", 1)]
    with refused("OTSParameterInvalid", 400, "not allowed"):
        put(client, "fixed", key, [])
    with refused("OTSParameterInvalid", 400, "DropIndex"):
        client.delete_table("fixed")
    client.delete_table(table)
    with refused("OTSObjectNotExist", 404):
        get(client, "fixed", key)


def test_an_index_that_cannot_be_is_refused(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED, indexes=[index("taken", ["a", "at"], [])])
    for meta, words in (
        (index("bad", ["at"], []), "first primary key column of a local index"),
        (index("bad", ["a", "nowhere"], []), "'nowhere' of the index is not a defined column"),
        (index("bad", ["a", "f"], []), "its type is not allowed"),
        (index("bad", ["a", "at"], ["nowhere"]), "'nowhere' of the index is not a defined column"),
    ):
        with refused("OTSParameterInvalid", 400, words):
            client.create_secondary_index(table, meta, True)
    with refused("OTSObjectAlreadyExist", 409):
        client.create_secondary_index(table, index("taken", ["a", "at"], []), True)
    versions = make_table(defined=DEFINED, max_version=2)
    with refused("OTSParameterInvalid", 400, "must be 1"):
        client.create_secondary_index(versions, index("bad", ["a", "at"], []), True)


def test_a_row_too_long_for_an_index_made_later_is_left_out(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED)
    put(client, table, [("a", "u"), ("b", 1)], [("tag", "x" * 1025)])
    put(client, table, [("a", "u"), ("b", 2)], [("tag", "fits")])
    client.create_secondary_index(table, index("some", ["a", "tag"], []), True)
    assert [k for k, _ in entries(client, "some", "a", "tag", "b")] == [["u", "fits", 2]]


def test_a_row_too_long_for_the_index_changes_nothing(client: Any, make_table: Any) -> None:
    table = make_table(defined=DEFINED, indexes=[index("short", ["a", "tag"], [])])
    key = [("a", "u"), ("b", 1)]
    put(client, table, key, [("tag", "fits")])
    with refused("OTSParameterInvalid", 400, "too long for the index"):
        put(client, table, key, [("tag", "x" * 1025)])
    assert get(client, table, key) == {"tag": "fits"}
    assert [k for k, _ in entries(client, "short", "a", "tag", "b")] == [["u", "fits", 1]]
