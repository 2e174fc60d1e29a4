"""The search APIs over TCP, through the unmodified SDK."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tablestore as ots
from tablestore import FieldSchema, FieldType
from tablestore.protobuf import search_pb2

from support.emulator import Emulator, connect
from support.search import (
    ALL,
    BY_SCORE,
    FROM_INDEX,
    INDEX,
    attributes,
    create_index,
    ids,
    indexed_table,
    memory_fields,
    only,
    remember,
    search,
    vector_field,
)
from support.tables import create_table, refused

BAD = "OTSParameterInvalid"


def test_an_index_is_described_with_the_service_s_defaults(client: Any, make_table: Callable[..., str]) -> None:
    table = make_table()
    create_index(client, table, time_to_live=900_000, index_setting=ots.IndexSetting(routing_fields=["a"]))
    assert client.list_search_index(table) == [(table, INDEX)]
    meta, sync = client.describe_search_index(table, INDEX)
    assert [(f.field_name, f.field_type, f.index) for f in meta.fields] == [
        ("user", FieldType.KEYWORD, True),
        ("text", FieldType.TEXT, True),
        ("at", FieldType.LONG, True),
        ("vector", FieldType.VECTOR, True),
    ]
    assert meta.fields[1].analyzer == "single_word"
    assert meta.fields[3].vector_options.dimension == 4
    assert isinstance(meta.index_sort.sorters[0], ots.PrimaryKeySort)
    assert (meta.time_to_live, meta.index_setting.routing_fields) == (900_000, ["a"])
    assert sync.sync_phase == ots.SyncPhase.INCR
    assert sync.current_sync_timestamp > 1.7e18  # nanoseconds


def test_a_nested_field_means_no_default_sort(client: Any, make_table: Callable[..., str]) -> None:
    table = make_table()
    nested = FieldSchema("n", FieldType.NESTED, sub_field_schemas=[FieldSchema("k", FieldType.KEYWORD, index=True)])
    create_index(client, table, FieldSchema("k", FieldType.KEYWORD), nested)
    meta, _ = client.describe_search_index(table, INDEX)
    assert meta.index_sort.sorters == []
    assert meta.fields[1].sub_field_schemas[0].field_name == "k"
    for n in (1, 2):
        client.put_row(
            table, ots.Row([("a", "x"), ("b", n)], [("n", '[{"k": "x"}, {"k": "y"}]')]), ots.Condition("IGNORE")
        )
    page = search(client, table, ots.NestedQuery("n", ots.TermQuery("n.k", "x")), limit=1, get_total_count=True)
    assert (len(page.rows), page.total_count, page.next_token) == (1, 2, b"")  # no sort, no place to go on from
    by_key = ots.Sort([ots.PrimaryKeySort(ots.SortOrder.ASC)])
    assert search(client, table, ots.MatchAllQuery(), limit=1, sort=by_key).next_token


def test_the_time_to_live_can_change_and_the_rest_cannot(client: Any, table: str) -> None:
    client.update_search_index(table, INDEX, ots.SearchIndexMeta([], time_to_live=86_400))
    meta, _ = client.describe_search_index(table, INDEX)
    assert (meta.time_to_live, len(meta.fields)) == (86_400, 4)


def test_names_that_are_not_there_and_names_that_are(client: Any, table: str) -> None:
    with refused("OTSMetaNotMatch", 400, r"search index \[nope\] does not exist"):
        client.describe_search_index(table, "nope")
    with refused("OTSMetaNotMatch", 400):
        search(client, table, ots.MatchAllQuery(), index="nope")
    with refused("OTSMetaNotMatch", 400):
        client.delete_search_index(table, "nope")
    with refused(BAD, 400, r"table \[nowhere\] does not exist"):
        client.list_search_index("nowhere")
    with refused(BAD, 400, r"table \[nowhere\] does not exist"):
        create_index(client, "nowhere")
    with refused("OTSObjectAlreadyExist", 409):
        create_index(client, table)


def test_a_table_cannot_go_before_its_index(client: Any, table: str) -> None:
    with refused(BAD, 400, "has to be deleted before the table"):
        client.delete_table(table)
    client.delete_search_index(table, INDEX)
    assert client.list_search_index(table) == []
    client.delete_table(table)
    indexed_table(client, table)  # and comes back empty
    assert search(client, table, ots.MatchAllQuery(), get_total_count=True).total_count == 0


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ([FieldSchema("k", FieldType.KEYWORD)], {"name": "1st"}, "index name"),
        ([FieldSchema("k", FieldType.KEYWORD)] * 2, {}, "not unique"),
        ([FieldSchema("t", FieldType.TEXT, analyzer="best")], {}, "analyzer"),
        ([vector_field(dimension=4097)], {}, "dimension"),
        ([vector_field(f"v{n}") for n in range(6)], {}, "number of vector fields"),
        ([FieldSchema(f"f{n}", FieldType.LONG) for n in range(1001)], {}, "number of fields"),
        ([FieldSchema("v", FieldType.KEYWORD, is_virtual_field=True)], {}, "source field"),
        (
            [FieldSchema("f", FieldType.TEXT, analyzer="fuzzy", analyzer_parameter=ots.FuzzyAnalyzerParameter(3, 2))],
            {},
            "min_chars",
        ),
        (
            [FieldSchema("k", FieldType.KEYWORD)],
            {"index_setting": ots.IndexSetting(routing_fields=["k"])},
            "routing field",
        ),
    ],
)
def test_definitions_that_cannot_be(
    client: Any, make_table: Callable[..., str], fields: list[FieldSchema], options: dict[str, Any], message: str
) -> None:
    table = make_table()
    with refused(BAD, 400, message):
        create_index(client, table, *fields, **options)
    assert client.list_search_index(table) == []


def test_scores_are_what_the_sdk_reads_and_absent_ones_are_nan(client: Any, table: str) -> None:
    remember(client, table, "u", "same", vector="[1, 0, 0, 0]")
    remember(client, table, "u", "across", vector=ots.utils.VectorUtils.floats_to_bytes([0.0, 1.0, 0.0, 0.0]))
    knn = ots.KnnVectorQuery("vector", 10, [1.0, 0.0, 0.0, 0.0], filter=ots.TermQuery("user", "u"))
    page = search(client, table, knn, sort=BY_SCORE, get_total_count=True)
    assert [(row[0][1][1], hit.score) for row, hit in zip(page.rows, page.search_hits, strict=True)] == [
        ("same", 1.0),
        ("across", 0.5),
    ]
    assert (page.total_count, page.is_all_succeed) == (2, True)
    page = search(client, table, knn)
    assert ids(page) == ["across", "same"]
    assert all(math.isnan(hit.score) for hit in page.search_hits)
    assert page.total_count == -1  # not asked for


def test_which_columns_come_back(client: Any, table: str) -> None:
    remember(client, table, "u", "1", text="你好", at=5, vector="[1.0, 0.5, 0.25, 0.0]", extra=bytearray(b"\x00\xff"))
    everything = ots.MatchAllQuery()
    indexed = {"at": 5, "text": "你好", "vector": "[1.0, 0.5, 0.25, 0.0]"}
    assert list(attributes(search(client, table, everything))) == [{}]
    assert list(attributes(search(client, table, everything, ALL))) == [{**indexed, "extra": bytearray(b"\x00\xff")}]
    assert list(attributes(search(client, table, everything, FROM_INDEX))) == [indexed]
    assert list(attributes(search(client, table, everything, only("at", "user")))) == [{"at": 5}]
    assert list(attributes(search(client, table, everything, only("extra", "at")))) == [
        {"at": 5, "extra": bytearray(b"\x00\xff")}
    ]
    assert list(attributes(search(client, table, everything, only("nowhere")))) == [{}]
    assert [name for name, *_ in search(client, table, everything, FROM_INDEX).rows[0][1]] == sorted(indexed)


def test_pages_by_offset_and_by_token(client: Any, table: str) -> None:
    for n in range(23):
        remember(client, table, "u", f"{n:02}", at=-n)
    sort = ots.Sort([ots.FieldSort("at", ots.SortOrder.ASC)])
    page = search(client, table, ots.MatchAllQuery(), sort=sort, limit=5, offset=20)
    assert ids(page) == ["02", "01", "00"]
    assert page.next_token == b""
    found, token = [], None
    while token != b"":
        page = search(
            client, table, ots.MatchAllQuery(), sort=sort if token is None else None, limit=5, next_token=token
        )
        found += ids(page)
        token = page.next_token
    assert found == [f"{n:02}" for n in reversed(range(23))]


def test_limits_of_a_page(client: Any, table: str) -> None:
    everything = ots.MatchAllQuery()
    assert search(client, table, everything, ALL, limit=100).rows == []
    assert search(client, table, everything, FROM_INDEX, limit=1000).rows == []
    with refused(BAD, 400, r"limit should be in \[0, 100\]"):
        search(client, table, everything, ALL, limit=101)
    with refused(BAD, 400, r"limit should be in \[0, 100\]"):
        search(client, table, everything, only("at", "unindexed"), limit=101)
    with refused(BAD, 400, r"limit should be in \[0, 1000\]"):
        search(client, table, everything, FROM_INDEX, limit=1001)
    with refused(BAD, 400, "sum of offset and limit"):
        search(client, table, everything, offset=100_000, limit=1)
    with refused(BAD, 400, "top_k"):
        search(client, table, ots.KnnVectorQuery("vector", 1001, [0.0] * 4))
    with refused(BAD, 400, "number of terms"):
        search(client, table, ots.TermsQuery("user", ["x"] * 1025))
    with refused(BAD, 400, "sub-queries"):
        search(client, table, ots.BoolQuery(should_queries=[everything] * 1024))


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({"aggs": [ots.Max("at")]}, ots.MatchAllQuery()),
        ({"group_bys": [ots.GroupByField("user")]}, ots.MatchAllQuery()),
        ({"collapse_field": ots.Collapse("user")}, ots.MatchAllQuery()),
        ({"highlight": ots.Highlight([ots.HighlightParameter("text")])}, ots.MatchAllQuery()),
        ({}, ots.DisMaxQuery([ots.MatchAllQuery()])),
        ({}, ots.NestedQuery("n", ots.MatchAllQuery(), inner_hits=ots.InnerHits(None, 0, 1, None))),
        ({"sort": ots.Sort([ots.GeoDistanceSort("g", ["30,120"])])}, ots.MatchAllQuery()),
    ],
)
def test_what_is_left_out_says_so(client: Any, table: str, options: dict[str, Any], query: Any) -> None:
    with refused("OTSUnsupportOperation", 400, "is not supported by tablestore-emulator"):
        search(client, table, query, **options)


def test_the_index_follows_every_kind_of_write(client: Any, table: str) -> None:
    key = [("user", "u"), ("id", "1")]
    remember(client, table, "u", "1", text="red", at=1)
    assert ids(search(client, table, ots.MatchQuery("text", "red"))) == ["1"]
    client.update_row(
        table, ots.Row(key, {"PUT": [("text", "green")], "INCREMENT": [("at", 4)]}), ots.Condition("IGNORE")
    )
    assert ids(search(client, table, ots.MatchQuery("text", "red"))) == []
    assert ids(search(client, table, ots.TermQuery("at", 5))) == ["1"]
    client.update_row(table, ots.Row(key, {"DELETE_ALL": ["text"]}), ots.Condition("IGNORE"))
    assert ids(search(client, table, ots.ExistsQuery("text"))) == []
    batch = ots.BatchWriteRowRequest()
    rows = [
        ots.PutRowItem(ots.Row([("user", "u"), ("id", f"{n}")], [("at", n)]), ots.Condition("IGNORE")) for n in (2, 3)
    ]
    batch.add(ots.TableInBatchWriteRowItem(table, [*rows, ots.DeleteRowItem(ots.Row(key), ots.Condition("IGNORE"))]))
    assert client.batch_write_row(batch).is_all_succeed()
    assert ids(search(client, table, ots.MatchAllQuery())) == ["2", "3"]
    with refused("OTSConditionCheckFail", 403):
        client.put_row(table, ots.Row([("user", "u"), ("id", "2")], [("at", 9)]), ots.Condition("EXPECT_NOT_EXIST"))
    assert ids(search(client, table, ots.TermQuery("at", 9))) == []


def test_an_index_made_late_finds_what_was_there(client: Any, make_table: Callable[..., str]) -> None:
    table = make_table(("user", "STRING"), ("id", "STRING"))
    for n in range(300):  # more than one page of the storage
        remember(client, table, "u", f"{n:03}", at=n, text="早先")
    create_index(client, table)
    page = search(client, table, ots.MatchQuery("text", "早"), get_total_count=True, limit=1)
    assert page.total_count == 300


def test_text_fields_in_chinese(client: Any, table: str) -> None:
    remember(client, table, "u", "1", text="用户的常量名用全大写加下划线, e.g. MAX_SIZE")
    remember(client, table, "u", "2", text="用户喜欢高铁靠窗的座位")
    assert ids(search(client, table, ots.MatchPhraseQuery("text", "靠窗的座位"))) == ["2"]
    assert ids(search(client, table, ots.MatchQuery("text", "常量怎么命名"), sort=BY_SCORE))[0] == "1"
    assert ids(search(client, table, ots.MatchQuery("text", "max_size"))) == ["1"]
    assert ids(search(client, table, ots.MatchQuery("text", "高铁", operator=ots.QueryOperator.AND))) == ["2"]


def test_indexes_and_what_they_find_outlive_the_process(tmp_path: Path) -> None:
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        indexed_table(client, "kept")
        for n in range(20):
            remember(client, "kept", "u", f"{n:02}", text=f"第{n}条", vector=f"[{n}, 1, 0, 0]")
        client.delete_row("kept", [("user", "u"), ("id", "19")], ots.Condition("IGNORE"))
        indexed_table(client, "dropped")
        client.delete_search_index("dropped", INDEX)
        emulator.kill()
    with Emulator(tmp_path) as emulator:
        client = connect(emulator)
        assert client.list_search_index() == [("kept", INDEX)]
        remember(client, "kept", "u", "20", text="新的", vector="[20, 1, 0, 0]")
        knn = ots.KnnVectorQuery("vector", 2, [1.0, 0.0, 0.0, 0.0])
        assert ids(search(client, "kept", knn, sort=BY_SCORE, limit=2)) == ["20", "18"]
        assert search(client, "kept", ots.MatchAllQuery(), get_total_count=True).total_count == 20


def test_the_asynchronous_client_too(emulator: Emulator, client: Any, table: str) -> None:
    import asyncio

    remember(client, table, "u", "1", vector="[1, 0, 0, 0]")

    async def ask() -> Any:
        async with ots.AsyncOTSClient(emulator.endpoint, emulator.key_id, emulator.secret, emulator.instance) as each:
            query = ots.SearchQuery(ots.KnnVectorQuery("vector", 1, [1.0, 0.0, 0.0, 0.0]), sort=BY_SCORE, limit=1)
            return await each.search(table, INDEX, query, FROM_INDEX)

    assert asyncio.run(ask()).search_hits[0].score == 1.0


def test_a_table_without_rows_or_matching_fields(client: Any, make_table: Callable[..., str]) -> None:
    table = make_table()
    create_index(client, table, *memory_fields())
    create_table(client, f"{table}_other")
    for query in (ots.MatchAllQuery(), ots.MatchQuery("text", "x"), ots.KnnVectorQuery("vector", 3, [1.0] * 4)):
        page = search(client, table, query, get_total_count=True)
        assert (page.rows, page.total_count, page.next_token) == ([], 0, b"")


def raw_search(client: Any, table: str, change: Callable[[Any], None]) -> Any:
    """Search with a request that the SDK's classes cannot make: `change` gets the SearchQuery message."""

    class Encoder:
        def __init__(self, real: Any) -> None:
            self._real = real

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def encode_request(self, api: str, *arguments: Any, **options: Any) -> Any:
            request = search_pb2.SearchRequest(table_name=table, index_name=INDEX)
            query = search_pb2.SearchQuery()
            change(query)
            request.search_query = query.SerializeToString()
            return request

    client.protocol.encoder = Encoder(client.protocol.encoder)
    return search(client, table, ots.MatchAllQuery())


def test_a_query_type_that_only_newer_sdks_know(client: Any, table: str) -> None:
    with refused("OTSUnsupportOperation", 400, "This type of query"):
        raw_search(client, table, lambda q: q.query.ParseFromString(b"\x08\x63"))  # type: 99


def test_a_part_of_a_sort_that_only_newer_sdks_know(client: Any, table: str) -> None:
    def with_missing_field(query: Any) -> None:
        field = query.sort.sorter.add().field_sort
        field.ParseFromString(b"\x0a\x02at\x32\x04user")  # field_name "at", missing_field (6) "user"

    with refused("OTSUnsupportOperation", 400, "Field 6 of FieldSort"):
        raw_search(client, table, with_missing_field)


def test_queries_nested_too_deep_or_not_decodable(client: Any, table: str) -> None:
    def deep(query: Any) -> None:
        inner = search_pb2.Query(type=search_pb2.MATCH_ALL_QUERY)
        for _ in range(900):
            body = search_pb2.BoolQuery(must_queries=[inner]).SerializeToString()
            inner = search_pb2.Query(type=search_pb2.BOOL_QUERY, query=body)
        query.query.CopyFrom(inner)

    with refused(BAD, 400, "depth of queries"):
        raw_search(client, table, deep)
    with refused(BAD, 400, "MatchQuery cannot be decoded"):
        raw_search(
            client, table, lambda q: q.query.CopyFrom(search_pb2.Query(type=search_pb2.MATCH_QUERY, query=b"\xff"))
        )
    with refused(BAD, 400):
        term = search_pb2.TermQuery(field_name="user", term=b"\x03\xff\xff").SerializeToString()
        raw_search(client, table, lambda q: q.query.CopyFrom(search_pb2.Query(type=search_pb2.TERM_QUERY, query=term)))


def test_a_field_that_is_not_indexed_is_only_returned(client: Any, make_table: Callable[..., str]) -> None:
    table = make_table(("user", "STRING"), ("id", "STRING"))
    create_index(
        client, table, FieldSchema("k", FieldType.KEYWORD), FieldSchema("kept", FieldType.KEYWORD, index=False)
    )
    remember(client, table, "u", "1", k="x", kept="y")
    assert list(attributes(search(client, table, ots.TermQuery("k", "x"), FROM_INDEX))) == [{"k": "x", "kept": "y"}]
    with refused(BAD, 400, r"field \[kept\] is not indexed"):
        search(client, table, ots.TermQuery("kept", "y"))
