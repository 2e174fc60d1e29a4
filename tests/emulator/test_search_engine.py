"""The index as a library: what matches, with which score, in which order."""

import math

import pytest

from support.search_engine import ask, delete, found, index_of, put, scores
from tablestore_emulator.errors import OtsError
from tablestore_emulator.search.query.queries import (
    Bool,
    ConstScore,
    Exists,
    FieldSort,
    FunctionScore,
    GeoBox,
    GeoDistance,
    GeoPolygon,
    KeySort,
    Knn,
    Match,
    MatchAll,
    MatchPhrase,
    Prefix,
    Query,
    Range,
    Request,
    ScoreSort,
    Terms,
    Wildcard,
)
from tablestore_emulator.search.schema import Analyzer, FieldSpec, FieldType, IndexSpec
from tablestore_emulator.search.search_index import SearchIndex


def texts(analyzer: Analyzer | None = None) -> SearchIndex:
    index = index_of(FieldSpec("t", FieldType.TEXT, analyzer=analyzer or Analyzer()))
    put(index, "a", t="我喜欢靠窗的座位")
    put(index, "b", t="我不喜欢 Window seats, window!")
    put(index, "c", t="座位靠窗")
    put(index, "d", other="no text at all")
    return index


def test_match_finds_any_token_all_tokens_or_a_minimum() -> None:
    index = texts()
    assert found(index, Match("t", "靠窗 window")) == "a b c"
    assert found(index, Match("t", "靠窗座位", every=True)) == "a c"
    assert found(index, Match("t", "我喜欢座位", minimum="4")) == "a"
    assert found(index, Match("t", "我喜欢座位", minimum="60%")) == "a b"
    assert found(index, Match("t", "，。")) == ""


def test_match_scores_by_bm25() -> None:
    index = texts()
    page = ask(index, Match("t", "window"), ScoreSort())
    rarity = math.log(1 + (3 - 1 + 0.5) / (1 + 0.5))  # three documents have the field, one holds the token
    length, mean = 7, (8 + 7 + 4) / 3  # 我 不 喜 欢 window seats window
    expected = rarity * 2 * 2.2 / (2 + 1.2 * (1 - 0.75 + 0.75 * length / mean))
    assert page.hits[0].score == pytest.approx(expected)
    assert ask(index, Match("t", "window", weight=3.0), ScoreSort()).hits[0].score == pytest.approx(3 * expected)


def test_the_scores_of_the_service_that_the_official_sdk_s_test_knows_are_within_reach() -> None:
    """int(score * factor) is 53, 11, 9 for 120, 30, 25 there, with a segmenter; pairs come near."""
    index = index_of(FieldSpec("t", FieldType.TEXT, analyzer=Analyzer("max_word")))
    put(index, "1", t="求推荐几款菊花茶店铺")
    put(index, "2", t="秋天最适合饮用的几种花茶")
    put(index, "3", t="苕溪边上有一大片野生菊花")
    put(index, "4", t="菊花茶是一款大部分人都适合的经典花茶")
    scores = {hit.key.decode(): hit.score or 0 for hit in ask(index, Match("t", "花茶"), ScoreSort()).hits}
    assert list(scores) == ["4", "1", "2"]
    assert scores["4"] * 120 == pytest.approx(53.5, abs=3)


def test_phrases() -> None:
    index = texts()
    assert found(index, MatchPhrase("t", "靠窗的座位")) == "a"
    assert found(index, MatchPhrase("t", "座位靠窗")) == "c"
    assert found(index, MatchPhrase("t", "WINDOW seats")) == "b"
    assert found(index, MatchPhrase("t", "seats 座")) == ""
    assert found(index, MatchPhrase("t", "窗座", slop=0)) == ""
    assert found(index, MatchPhrase("t", "窗座", slop=1)) == "a"
    assert found(index, MatchPhrase("t", "位座", slop=2)) == "a c"
    assert found(index, MatchPhrase("t", "")) == ""


def test_a_phrase_is_not_found_across_the_bytes_of_two_tokens() -> None:
    index = index_of(FieldSpec("t", FieldType.TEXT))
    put(index, "a", t=" ".join(f"w{n}" for n in range(300)))  # token numbers whose bytes repeat
    put(index, "b", t="w1 w256 w0 w2")
    assert found(index, MatchPhrase("t", "w1 w256 w0")) == "b"
    assert found(index, MatchPhrase("t", "w0 w1 w2")) == "a"


def test_fuzzy_phrases_find_any_part_of_a_text() -> None:
    index = texts(Analyzer("fuzzy", min_chars=2, max_chars=3))
    assert found(index, MatchPhrase("t", "欢靠")) == "a"
    assert found(index, MatchPhrase("t", "dow SEATS, win")) == "b"  # longer than the longest gram
    assert found(index, MatchPhrase("t", "窗")) == ""  # shorter than the shortest
    assert found(index, MatchPhrase("t", "dow seats; win")) == ""
    assert found(index, Match("t", "靠窗 的", every=True)) == ""
    assert found(index, Match("t", "靠窗")) == "a c"
    assert found(index, Terms("t", ("靠窗", "win", "wind"))) == "a b c"
    assert found(index, Terms("t", ("wind",))) == ""  # longer than the longest gram
    assert found(index, Exists("t")) == "a b c"
    with pytest.raises(OtsError, match="OTSUnsupportOperation"):
        found(index, Prefix("t", "w"))


def values() -> SearchIndex:
    index = index_of(
        FieldSpec("id", FieldType.KEYWORD),
        FieldSpec("k", FieldType.KEYWORD),
        FieldSpec("ks", FieldType.KEYWORD, is_array=True),
        FieldSpec("n", FieldType.LONG),
        FieldSpec("ns", FieldType.LONG, is_array=True),
        FieldSpec("d", FieldType.DOUBLE),
        FieldSpec("b", FieldType.BOOLEAN),
        FieldSpec("at", FieldType.DATE, date_formats=("yyyy-MM-dd",)),
        FieldSpec("t", FieldType.TEXT),
        FieldSpec("k_text", FieldType.TEXT, source="k"),
        FieldSpec("j", FieldType.JSON),
    )
    put(index, "a", k="red", ks='["x", "y"]', n=2**62 + 1, ns="[1, 9]", d=0.5, b=True, at="2026-01-01", t="One two")
    put(index, "b", k="Red Wine", ks='["y"]', n=-5, ns="[5]", d=2.0, b=False, at="2026-01-02", t="two three")
    put(index, "c", k="blue", n=7)
    put(index, "d", k="é", n="not a number", d=True, b=1, at="2026-1-1", ks="no json", j="{}")
    return index


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Terms("k", ("red",)), "a"),
        (Terms("k", ("red", "blue", "nothing")), "a c"),
        (Terms("ks", ("y",)), "a b"),
        (Terms("n", (2**62 + 1,)), "a"),
        (Terms("n", (2**62,)), ""),
        (Terms("n", ("7", -5)), "b c"),
        (Terms("ns", (9, 5)), "a b"),
        (Terms("d", (0.5, 2)), "a b"),
        (Terms("b", (True,)), "a"),
        (Terms("b", ("false",)), "b"),
        (Terms("t", ("two",)), "a b"),
        (Terms("t", ("One",)), ""),  # tokens are in lower case, and a term is not analyzed
        (Terms("k_text", ("red",)), "a b"),
        (Match("k_text", "WINE"), "b"),
        (Match("k", "Red Wine"), "b"),
        (MatchPhrase("n", "7"), "c"),
        (Terms("id", ("c",)), "c"),
        (Range("n", low=-5, include_low=True, high=7), "b"),
        (Range("n", low=-5, high=7, include_high=True), "c"),
        (Range("n", low=6.5), "a c"),
        (Range("ns", low=8), "a"),
        (Range("d", high="1.5"), "a"),
        (Range("at", low="2026-01-01"), "b"),
        (Range("at", low="2026-01-01", include_low=True), "a b"),
        (Range("k", low="Red Wine", include_low=True, high="red"), "b c"),
        (Range("k"), "a b c d"),
        (Prefix("k", "re"), "a"),
        (Prefix("k", ""), "a b c d"),
        (Prefix("t", "t"), "a b"),
        (Wildcard("k", "*e*"), "a b c"),
        (Wildcard("k", "r?d"), "a"),
        (Wildcard("k", "[r]ed"), ""),
        (Exists("n"), "a b c"),
        (Exists("ks"), "a b"),
        (Exists("b"), "a b"),
        (MatchAll(), "a b c d"),
        (ConstScore(Terms("k", ("red",))), "a"),
        (Bool(), "a b c d"),
        (Bool(must=(Exists("n"),), must_not=(Terms("k", ("red",)),)), "b c"),
        (Bool(should=(Terms("k", ("red",)), Terms("n", (7,)))), "a c"),
        (Bool(should=(Terms("k", ("red",)), Exists("d")), minimum="2"), "a"),
        (Bool(filter=(Exists("n"),), should=(Terms("k", ("red",)),)), "a b c"),
        (Bool(filter=(Exists("n"),), should=(Terms("k", ("red",)),), minimum="1"), "a"),
    ],
)
def test_what_each_query_finds(query: Query, expected: str) -> None:
    assert found(values(), query) == expected


@pytest.mark.parametrize(
    ("query", "code"),
    [
        (Terms("nope", ("x",)), "OTSParameterInvalid"),
        (Terms("k", (1,)), "OTSParameterInvalid"),
        (Terms("n", ("x",)), "OTSParameterInvalid"),
        (Prefix("n", "1"), "OTSParameterInvalid"),
        (Range("b", low="maybe"), "OTSParameterInvalid"),
        (Knn("n", (1.0,), 1), "OTSParameterInvalid"),
        (Exists("j"), "OTSUnsupportOperation"),
    ],
)
def test_what_each_query_refuses(query: Query, code: str) -> None:
    with pytest.raises(OtsError, match=code):
        ask(values(), query)


def test_scores_add_up_in_must_and_should_and_not_in_filter() -> None:
    index = values()
    red, number = Terms("k", ("red",), weight=2.0), Exists("n")
    assert scores(index, Bool(must=(red, number))) == {"a": 3.0}
    assert scores(index, Bool(must=(red,), filter=(number,))) == {"a": 2.0}
    assert scores(index, Bool(filter=(number,), should=(red,))) == {"a": 2.0, "b": 0.0, "c": 0.0}
    assert scores(index, Bool(must=(red, number), weight=10.0)) == {"a": 30.0}
    assert scores(index, ConstScore(red)) == {"a": 1.0}
    assert scores(index, FunctionScore(Bool(should=(red, Exists("b"))), "d")) == {"b": 2.0, "a": 1.5}
    assert scores(index, FunctionScore(Terms("k", ("blue",)), "d")) == {"c": 0.0}


def test_without_a_score_sort_there_is_no_score_and_the_order_is_that_of_the_primary_key() -> None:
    index = texts()
    put(index, "0", t="window window window")
    page = ask(index, Match("t", "window"))
    assert [(hit.key, hit.score) for hit in page.hits] == [(b"0", None), (b"b", None)]


def test_sorting_by_fields() -> None:
    index = values()
    assert found(index, MatchAll(), FieldSort("n")) == "b c a d"
    assert found(index, MatchAll(), FieldSort("n", descending=True)) == "a c b d"
    assert found(index, MatchAll(), FieldSort("k")) == "b c a d"
    assert found(index, MatchAll(), FieldSort("k", descending=True)) == "d a c b"
    assert found(index, MatchAll(), FieldSort("ns", descending=True)) == "a b c d"
    assert found(index, MatchAll(), FieldSort("ns", descending=True, mode="min")) == "b a c d"
    assert found(index, MatchAll(), FieldSort("ns", mode="avg")) == "a b c d"  # both 5: primary key order
    assert found(index, MatchAll(), FieldSort("at", descending=True), KeySort()) == "b a c d"
    assert found(index, MatchAll(), KeySort(descending=True)) == "d c b a"
    with pytest.raises(OtsError, match="does not support this sort"):
        found(index, MatchAll(), FieldSort("t"))


def test_points_on_the_globe() -> None:
    index = index_of(FieldSpec("g", FieldType.GEO_POINT))
    points = {"hangzhou": "30.27,120.16", "shanghai": "31.23,121.47", "fiji": "-17.7,178.1", "samoa": " -13.8, -172.1"}
    for key, point in {**points, "wrong": "120.16,30.27", "text": "here", "one": "30"}.items():
        put(index, key, g=point)
    assert found(index, Exists("g")) == "fiji hangzhou samoa shanghai"
    assert found(index, GeoDistance("g", "30.27,120.16", 0.1)) == "hangzhou"
    assert found(index, GeoDistance("g", "30.27,120.16", 164_000)) == "hangzhou"  # Shanghai is 165 km away
    assert found(index, GeoDistance("g", "30.27,120.16", 166_000)) == "hangzhou shanghai"
    assert found(index, GeoBox("g", "31,120", "30,121")) == "hangzhou"
    assert found(index, GeoBox("g", "0,170", "-20,-170")) == "fiji samoa"  # across the date line
    assert found(index, GeoPolygon("g", ("30,120", "32,120", "32,122"))) == "hangzhou"
    with pytest.raises(OtsError, match="is not a point"):
        found(index, GeoDistance("g", "91,0", 1))


@pytest.mark.parametrize("analyzer", ["single_word", "fuzzy"])
def test_phrases_survive_compaction(analyzer: str) -> None:
    text = FieldSpec("t", FieldType.TEXT, analyzer=Analyzer(analyzer))
    index = SearchIndex(IndexSpec.of(("id",), text), compact_from=2)
    for n in range(50):
        put(index, f"{n % 5}", t=f"old{n} old{n + 1}" if n < 45 else f"now{n} then{n}")
        put(index, "silent")
    assert index.documents.size < 20
    assert found(index, MatchPhrase("t", "now47 then47")) == "2"
    assert found(index, MatchPhrase("t", "then47 now47")) == ""
    assert found(index, Bool(should=tuple(MatchPhrase("t", each) for each in ("old3", "old44", "now46")))) == "1"


def test_what_the_index_returns_is_what_it_stores() -> None:
    index = index_of(
        FieldSpec("id", FieldType.KEYWORD),
        FieldSpec("k", FieldType.KEYWORD),
        FieldSpec("k2", FieldType.TEXT, source="k"),
        FieldSpec("hidden", FieldType.LONG, stored=False),
        FieldSpec("g", FieldType.GEO_POINT),
    )
    put(index, "a", k="x", hidden=1, g="30,120", unindexed="y")
    assert index.columns(ask(index, MatchAll()).hits[0]) == {"k": "x", "g": "30,120"}
    assert found(index, Terms("hidden", (1,))) == "a"


def test_pages_by_token_go_on_where_they_stopped_although_rows_come_and_go() -> None:
    index = index_of(FieldSpec("n", FieldType.LONG))
    for n in range(10):
        put(index, f"r{n}", n=n // 2)
    sort = (FieldSort("n", descending=True), KeySort(descending=True))
    first = index.search(Request(MatchAll(), sort, limit=3))
    assert [hit.key for hit in first.hits] == [b"r9", b"r8", b"r7"]
    delete(index, "r7")
    put(index, "r75", n=3)  # before the place where the page ended
    put(index, "r5", n=3)  # now behind it
    second = index.search(Request(MatchAll(), limit=4, token=first.next_token))  # the token brings the sort
    assert [hit.key for hit in second.hits] == [b"r6", b"r5", b"r4", b"r3"]
    third = index.search(Request(MatchAll(), limit=4, token=second.next_token))
    assert [hit.key for hit in third.hits] == [b"r2", b"r1", b"r0"]
    assert third.next_token is None


@pytest.mark.parametrize("token", [b"x", b"e30=", b"AAAA", "名".encode()])
def test_a_token_that_is_not_ours_is_refused(token: bytes) -> None:
    with pytest.raises(OtsError, match="the token is invalid"):
        texts().search(Request(MatchAll(), token=token))
